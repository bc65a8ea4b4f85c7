import { runtime } from '#runtime'
import { Fault } from '../../core/errors.ts'
import { textBytes } from '../../core/text.ts'
import { numbersOf } from '../../runtime/numbers.ts'
import { close } from './disk.ts'
import { Errno, errnoName } from './errno.ts'
import { NETLINK_ROUTE, openSocket } from './net.ts'

/*
 * What a link does with checksums, by ioctl: the netlink family `ethtool` exists since Linux 5.6 only. The commands for one feature at a
 * time are in every kernel, and need no list of the names that features have there.
 */

const { syscall, addressOf } = runtime
const number = numbersOf(runtime.arch)
const SIOCETHTOOL = 0x8946
/** ETHTOOL_GTXCSUM and ETHTOOL_STXCSUM. Source: linux/ethtool.h. */
const COMMANDS = { read: 0x16, write: 0x17 } as const
const NAME_BYTES = 16
const REQUEST_BYTES = 40

/** Returns whether a link of the thread's namespace leaves checksums to its device; undefined if it is missing, or has none to leave. */
export function readChecksumOffload(link: string): boolean | undefined {
  const { errno, value } = ask(link, COMMANDS.read, 0)
  if (errno === Errno.ENODEV || errno === Errno.EOPNOTSUPP) return undefined
  if (errno !== 0) throw refusal(`read the checksum offload of ${link}`, errno)
  return value !== 0
}

/** Throws a Fault with the errno, such as ENODEV. */
export function writeChecksumOffload(link: string, isOn: boolean): void {
  const { errno } = ask(link, COMMANDS.write, Number(isOn))
  if (errno !== 0) throw refusal(`turn the checksum offload of ${link} ${isOn ? 'on' : 'off'}`, errno)
}

/** Struct ifreq holds the name and a pointer to struct ethtool_value. Any socket takes the call; ours is of netlink, as nodes have it. */
function ask(
  link: string,
  command: number,
  data: number,
): { readonly errno: number; readonly value: number } {
  const value = new Uint8Array(new ArrayBuffer(8))
  const view = new DataView(value.buffer)
  view.setUint32(0, command, true)
  view.setUint32(4, data, true)
  const request = new Uint8Array(new ArrayBuffer(REQUEST_BYTES))
  request.set(textBytes(link).subarray(0, NAME_BYTES - 1))
  new DataView(request.buffer).setBigUint64(NAME_BYTES, BigInt(addressOf(value)), true)
  const socket = openSocket(NETLINK_ROUTE)
  try {
    const returned = syscall(number.ioctl, socket, SIOCETHTOOL, request)
    return { errno: returned < 0 ? -returned : 0, value: view.getUint32(4, true) }
  } finally {
    close(socket)
  }
}

function refusal(action: string, errno: number): Fault {
  const name = errnoName(errno)
  const hint = name === 'EPERM' ? 'Run as root with CAP_NET_ADMIN.' : undefined
  return new Fault(`${action}: ${name}`, { errno: name, hint })
}
