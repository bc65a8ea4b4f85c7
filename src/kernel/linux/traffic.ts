import { FAMILIES } from '../../core/address.ts'
import { Code, Fault } from '../../core/errors.ts'
import { connectionDump, encodeForget, readConnections } from '../netlink/conntrack.ts'
import { readAck, readMessages } from '../netlink/message.ts'
import { listenerDump, NETLINK_SOCK_DIAG, readListeners } from '../netlink/sock_diag.ts'
import type { Traffic } from '../traffic.ts'
import { Errno, errnoName } from './errno.ts'
import { type DumpRequest, RouteSocket } from './route_socket.ts'
import { type NetlinkSocket, openNetlinkSocket } from './socket.ts'

const NETLINK_NETFILTER = 12
/** A kernel without the part that is asked, or without the protocol, says so with one of these. */
const NOT_THERE = ['ENOENT', 'EINVAL', 'EOPNOTSUPP', 'EPROTONOSUPPORT']
const MAX_DATAGRAMS = 100

/** Sockets and tracked connections of the process's own network namespace. A question opens a socket of its own. */
export const linuxTraffic: Traffic = {
  listeners(protocol) {
    return FAMILIES.flatMap((family) =>
      readListeners(family, dump(NETLINK_SOCK_DIAG, listenerDump(family, protocol), 'list the sockets')),
    )
  },
  connections(filter) {
    return readConnections(filter, dump(NETLINK_NETFILTER, connectionDump(filter), 'list the connections'))
  },
  forget(connections) {
    if (connections.length === 0) return
    const socket = openNetlinkSocket(NETLINK_NETFILTER)
    try {
      for (const [i, connection] of connections.entries()) {
        socket.send(encodeForget(connection, i + 1))
        const errno = answerTo(socket, i + 1)
        if (errno !== 0 && errno !== Errno.ENOENT) throw refused('forget a connection', errno)
      }
    } finally {
      socket.close()
    }
  },
}

function dump(protocol: number, request: DumpRequest, what: string): Uint8Array[] {
  const socket = open(protocol)
  if (!socket) return []
  try {
    const answer = new RouteSocket(socket).dump(request)
    if (!('errno' in answer)) return answer
    if (NOT_THERE.includes(errnoName(answer.errno))) return []
    throw refused(what, answer.errno)
  } finally {
    socket.close()
  }
}

function open(protocol: number): NetlinkSocket | undefined {
  try {
    return openNetlinkSocket(protocol)
  } catch (error) {
    if (error instanceof Fault && NOT_THERE.includes(error.errno ?? '')) return undefined
    throw error
  }
}

function answerTo(socket: NetlinkSocket, seq: number): number {
  for (let count = 0; count < MAX_DATAGRAMS; count++) {
    for (const message of readMessages(socket.receive())) {
      const ack = message.seq === seq ? readAck(message) : undefined
      if (ack) return ack.errno
    }
  }
  throw new Fault(`connection tracking: no answer among ${MAX_DATAGRAMS} messages`, { code: Code.tryLater })
}

function refused(what: string, number: number): Fault {
  const errno = errnoName(number)
  return new Fault(`${what}: ${errno}`, {
    errno,
    hint: 'Run as root with CAP_NET_ADMIN in the network namespace of the host.',
  })
}
