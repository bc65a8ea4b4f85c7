import { FAMILIES } from '../../core/address.ts'
import { Code, Fault } from '../../core/errors.ts'
import { connectionDump, encodeForget, readConnections } from '../netlink/conntrack.ts'
import { readAck, readMessages } from '../netlink/message.ts'
import { listenerDump, NETLINK_SOCK_DIAG, readListeners } from '../netlink/sock_diag.ts'
import type { Connection, ConnectionFilter, Listener, Traffic } from '../traffic.ts'
import { Errno, errnoName } from './errno.ts'
import { NETLINK_NETFILTER } from './net.ts'
import { type DumpRequest, RouteSocket } from './route_socket.ts'
import { type NetlinkSocket, openNetlinkSocket } from './socket.ts'

/** A kernel without the part that is asked, or without the protocol, says so with one of these. */
const NOT_THERE = ['ENOENT', 'EINVAL', 'EOPNOTSUPP', 'EPROTONOSUPPORT']
const MAX_DATAGRAMS = 100
/** Removals are numbered from here on, dumps from 1 on: they share a socket. */
const FIRST_REMOVAL = 2 ** 30

type Open = { readonly socket: NetlinkSocket; readonly dumps: RouteSocket }

/**
 * Sockets and tracked connections of the process's own network namespace. The socket to netfilter is kept: to close one waits until
 * nftables has freed what was removed before, that is, for a grace period of RCU (see LinuxNftables).
 */
export class LinuxTraffic implements Traffic {
  #netfilter: Open | undefined

  listeners(protocol: number): Listener[] {
    const socket = openOf(NETLINK_SOCK_DIAG)
    if (!socket) return []
    try {
      return FAMILIES.flatMap((family) =>
        readListeners(family, dump(socket, listenerDump(family, protocol), 'list the sockets')),
      )
    } finally {
      socket.socket.close()
    }
  }

  connections(filter: ConnectionFilter): Connection[] {
    return this.#ask([], (open) =>
      readConnections(filter, dump(open, connectionDump(filter), 'list the connections')),
    )
  }

  forget(connections: readonly Connection[]): void {
    if (connections.length === 0) return
    this.#ask(undefined, ({ socket }) => {
      for (const [i, connection] of connections.entries()) {
        const seq = FIRST_REMOVAL + i
        socket.send(encodeForget(connection, seq))
        const errno = answerTo(socket, seq)
        if (errno !== 0 && errno !== Errno.ENOENT) throw refused('forget a connection', errno)
      }
    })
  }

  /** A socket on which something failed is not used again. */
  #ask<T>(otherwise: T, work: (open: Open) => T): T {
    const open = this.#netfilter ?? openOf(NETLINK_NETFILTER)
    this.#netfilter = undefined
    if (!open) return otherwise
    try {
      const answer = work(open)
      this.#netfilter = open
      return answer
    } finally {
      if (!this.#netfilter) open.socket.close()
    }
  }
}

function openOf(protocol: number): Open | undefined {
  try {
    const socket = openNetlinkSocket(protocol)
    return { socket, dumps: new RouteSocket(socket) }
  } catch (error) {
    if (error instanceof Fault && NOT_THERE.includes(error.errno ?? '')) return undefined
    throw error
  }
}

function dump({ dumps }: Open, request: DumpRequest, what: string): Uint8Array[] {
  const answer = dumps.dump(request)
  if (!('errno' in answer)) return answer
  if (NOT_THERE.includes(errnoName(answer.errno))) return []
  throw refused(what, answer.errno)
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
