import { runtime } from '#runtime'
import { FAMILIES, type Family } from '../../core/address.ts'
import { numbersOf } from '../../runtime/numbers.ts'
import type { ProbeSender, Refusal } from '../probes.ts'
import { close } from './disk.ts'
import { setOption, socketAddress } from './net.ts'

/* The sockets by which probes are sent. They receive nothing but what routers and hosts say of a probe that they have refused. */

const { syscall, addressOf } = runtime
const number = numbersOf(runtime.arch)

const SOCK_DGRAM_NONBLOCK_CLOEXEC = 2 | 0o4000 | 0o2000000
const MSG_ERRQUEUE = 0x2000
const MSG_MORE = 0x8000
const FIRST_PART_BYTES = 8
const PMTUDISC_PROBE = 3
/** Socket options by family. Source: linux/in.h, linux/in6.h. */
const OPTIONS = {
  4: { domain: 2, level: 0, mtuDiscover: 10, receiveErrors: 11 },
  6: { domain: 10, level: 41, mtuDiscover: 23, receiveErrors: 25 },
} as const
/** EMSGSIZE and ECONNREFUSED. Source: asm-generic/errno.h. */
const REASONS: Readonly<Record<number, Refusal['reason']>> = { 90: 'tooBig', 111: 'closed' }
const MESSAGE_BYTES = 56
const PAYLOAD_BYTES = 64
const CONTROL_BYTES = 256
const CONTROL_HEADER_BYTES = 16
/** A bound on what is read at once: the rest is read the next time. */
const MAX_REFUSALS = 64

/** Opens a socket of each family that the kernel has. */
export function openProbeSender(): ProbeSender {
  const sockets = new Map(FAMILIES.map((family) => [family, openFor(family)]))
  const fds = [...sockets.values()].filter((fd) => fd >= 0)
  return {
    send(bytes, to, port, isFilled = false) {
      const fd = sockets.get(to.family) ?? -1
      if (fd < 0) return false
      const address = socketAddress(to, port)
      const part = (some: Uint8Array, flags: number) =>
        syscall(number.sendto, fd, some, some.length, flags, address, address.length) >= 0
      // Of a datagram in parts the checksum is never left to a device (Linux 4.4, `__ip_append_data`).
      const sent = () =>
        isFilled
          ? part(bytes.slice(0, FIRST_PART_BYTES), MSG_MORE) && part(bytes.slice(FIRST_PART_BYTES), 0)
          : part(bytes, 0)
      // The first call may return the error of an earlier datagram, and sends nothing then.
      return sent() || sent()
    },
    refusals: () => fds.flatMap(readRefusals),
    close() {
      for (const fd of fds) close(fd)
    },
  }
}

function openFor(family: Family): number {
  const { domain, level, mtuDiscover, receiveErrors } = OPTIONS[family]
  const fd = syscall(number.socket, domain, SOCK_DGRAM_NONBLOCK_CLOEXEC, 0)
  if (fd < 0) return fd
  // Don't fragment, whatever has been learned of the path: that is what is to be found out.
  setOption(fd, level, mtuDiscover, word(PMTUDISC_PROBE))
  setOption(fd, level, receiveErrors, word(1))
  return fd
}

function readRefusals(fd: number): Refusal[] {
  const found: Refusal[] = []
  while (found.length < MAX_REFUSALS) {
    const one = readRefusal(fd)
    if (!one) break
    found.push(one)
  }
  return found
}

/** Source: recvmsg(2), ip(7): IP_RECVERR; struct sock_extended_err of linux/errqueue.h. */
function readRefusal(fd: number): Refusal | undefined {
  const [payload, control, vector, message] = [PAYLOAD_BYTES, CONTROL_BYTES, 16, MESSAGE_BYTES].map(
    (length) => new Uint8Array(new ArrayBuffer(length)),
  ) as [Uint8Array, Uint8Array, Uint8Array, Uint8Array]
  setWords(vector, [addressOf(payload), PAYLOAD_BYTES])
  setWords(message, [0, 0, addressOf(vector), 1, addressOf(control), CONTROL_BYTES, 0])
  const length = syscall(number.recvmsg, fd, message, MSG_ERRQUEUE)
  if (length < 0) return undefined
  const view = new DataView(control.buffer)
  return {
    reason: REASONS[view.getUint32(CONTROL_HEADER_BYTES, true)] ?? 'other',
    mtu: view.getUint32(CONTROL_HEADER_BYTES + 8, true),
    payload: payload.subarray(0, Math.min(length, PAYLOAD_BYTES)),
  }
}

/** Writes words of 64 bits. */
function setWords(bytes: Uint8Array, values: readonly number[]): void {
  const view = new DataView(bytes.buffer)
  for (const [i, value] of values.entries()) view.setBigUint64(8 * i, BigInt(value), true)
}

function word(value: number): Uint8Array {
  const bytes = new Uint8Array(new ArrayBuffer(4))
  new DataView(bytes.buffer).setUint32(0, value, true)
  return bytes
}
