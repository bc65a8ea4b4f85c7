import { Code, Fault, isErrno } from '../../core/errors.ts'
import { close } from './disk.ts'
import { openSocket, receiveInto, SOL_SOCKET, sendAll, setOption } from './net.ts'

/** A netlink socket of the namespace that it was opened in. */
export type NetlinkSocket = {
  send(bytes: Uint8Array): void
  /** Receives one datagram, valid until the next call. Throws a Fault (try again later) after the timeout. */
  receive(): Uint8Array
  /** Limits dumps to one link. Old kernels cannot, so the caller must filter the answers. */
  narrowDumps(): void
  close(): void
}

const TIMEOUT_SECONDS = 10
const RECEIVE_BYTES = 64 * 1024
const MAX_INTERRUPTS = 100

const SO_RCVTIMEO = 20
const SO_SNDBUFFORCE = 32
const SOL_NETLINK = 270
const NETLINK_EXT_ACK = 11
const NETLINK_GET_STRICT_CHK = 12
/** Values of options: struct timeval, and an integer. */
const TIMEOUT = words(TIMEOUT_SECONDS, 0, 0, 0)
const ON = words(1)

/** Opens a socket to one part of the kernel: 0 is rtnetlink, 12 is netfilter. Needs no bind: the kernel does that. */
export function openNetlinkSocket(protocol: number): NetlinkSocket {
  const fd = openSocket(protocol)
  if (!setOption(fd, SOL_SOCKET, SO_RCVTIMEO, TIMEOUT)) {
    close(fd)
    throw new Fault('the kernel sets no time limit on a netlink socket')
  }
  // Answers with an explanation (extended acknowledgement). Old kernels do not have it.
  setOption(fd, SOL_NETLINK, NETLINK_EXT_ACK, ON)
  const buffer = new Uint8Array(RECEIVE_BYTES)
  return {
    send(bytes) {
      if (bytes.length > RECEIVE_BYTES) setOption(fd, SOL_SOCKET, SO_SNDBUFFORCE, words(4 * bytes.length))
      retried(() => sendAll(fd, bytes))
    },
    receive: () => receive(fd, buffer),
    narrowDumps: () => void setOption(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, ON),
    close: () => close(fd),
  }
}

function receive(fd: number, buffer: Uint8Array): Uint8Array {
  try {
    return retried(() => receiveInto(fd, buffer))
  } catch (error) {
    if (!isErrno(error, 'EAGAIN')) throw error
    throw new Fault(`the kernel did not answer within ${TIMEOUT_SECONDS} s`, {
      code: Code.tryLater,
      hint: 'Try again; if it stays so, look in dmesg for a task that hangs with the kernel’s network lock.',
      cause: error,
    })
  }
}

/** A signal interrupts a call with a timeout even where other calls are restarted. */
function retried<T>(call: () => T): T {
  for (let attempt = 0; attempt < MAX_INTERRUPTS; attempt++) {
    try {
      return call()
    } catch (error) {
      if (!isErrno(error, 'EINTR')) throw error
    }
  }
  throw new Fault(`interrupted ${MAX_INTERRUPTS} times while the kernel was asked`, { code: Code.tryLater })
}

function words(...values: number[]): Uint8Array {
  const bytes = new Uint8Array(new ArrayBuffer(4 * values.length))
  const view = new DataView(bytes.buffer)
  for (let i = 0; i < values.length; i++) view.setUint32(4 * i, values[i] ?? 0, true)
  return bytes
}
