import { runtime } from '#runtime'
import { type Address, addressBytes } from '../../core/address.ts'
import { Fault } from '../../core/errors.ts'
import { numbersOf } from '../../runtime/numbers.ts'
import { Errno, errnoName } from './errno.ts'

/* The system calls that touch sockets and namespaces. Each throws a Fault with the errno when the kernel refuses. */
const { syscall } = runtime
const number = numbersOf(runtime.arch)
/** Families of netlink sockets, and the level of what every socket has. Source: linux/netlink.h, asm-generic/socket.h. */
export const NETLINK_ROUTE = 0
export const NETLINK_NETFILTER = 12
export const SOL_SOCKET = 1
const AT_FDCWD = -100
const NSFS_MAGIC = 0x6e736673
const AF_INET = 2
const AF_INET6 = 10
const AF_NETLINK = 16
const SOCK_RAW_CLOEXEC = 3 | 0o2000000
const IPPROTO_RAW = 255
/** Not inherited, no wait for the other end of a FIFO, no controlling terminal: the path may be any file. */
const OPEN_FLAGS = 0o2000000 | 0o4000 | 0o400
const NS_GET_NSTYPE = 0xb703
const CLONE_NEWNET = 0x40000000
const MSG_TRUNC = 0x20

/** Opens a path that may be a magic link such as /proc/PID/ns/net. */
export function openNamespace(path: string): number {
  return checked(syscall(number.openat, AT_FDCWD, path, OPEN_FLAGS, 0), `open ${path}`)
}

/** Reports whether the descriptor is a network namespace, and not a file or another kind of namespace. */
export function isNetworkNamespace(fd: number): boolean {
  const type = syscall(number.ioctl, fd, NS_GET_NSTYPE, 0)
  return type === -Errno.ENOTTY || type === -Errno.ENOSYS ? isNamespace(fd) : type === CLONE_NEWNET
}

/**
 * Reports whether it is a namespace of whatever kind, for those who cannot be asked for the kind: kernels before 4.11, gVisor, QEMU's user
 * mode. To enter one of another kind is refused.
 */
function isNamespace(fd: number): boolean {
  const status = new Uint8Array(120)
  if (syscall(number.fstatfs, fd, status) < 0) return false
  return new DataView(status.buffer).getUint32(0, true) === NSFS_MAGIC
}

/** Moves the calling thread into a network namespace. */
export function enterNamespace(fd: number): void {
  checked(syscall(number.setns, fd, CLONE_NEWNET), 'enter a network namespace')
}

export function openSocket(protocol: number): number {
  return checked(syscall(number.socket, AF_NETLINK, SOCK_RAW_CLOEXEC, protocol), 'open a netlink socket')
}

/** Subscribes a netlink socket to multicast groups: bit 0 is group 1. */
export function joinGroups(fd: number, groups: number): void {
  const address = new Uint8Array(12)
  const view = new DataView(address.buffer)
  view.setUint16(0, AF_NETLINK, true)
  view.setUint32(8, groups, true)
  checked(syscall(number.bind, fd, address, address.length), 'subscribe to changes in the kernel')
}

/** Opens an IP socket to ask for options. `family`: AF_INET or AF_INET6. */
export function openRawSocket(family: number): number {
  return checked(syscall(number.socket, family, SOCK_RAW_CLOEXEC, IPPROTO_RAW), 'open a raw socket')
}

/** Fills `value`, which contains the question. Returns 0, or a negative errno number. */
export function getOption(fd: number, level: number, option: number, value: Uint8Array): number {
  const length = new Uint8Array(4)
  new DataView(length.buffer).setUint32(0, value.length, true)
  return syscall(number.getsockopt, fd, level, option, value, length)
}

/** Returns true if the kernel knows the option. */
export function setOption(fd: number, level: number, option: number, value: Uint8Array): boolean {
  return syscall(number.setsockopt, fd, level, option, value, value.length) === 0
}

export function sendAll(fd: number, bytes: Uint8Array): void {
  checked(
    syscall(number.sendto, fd, bytes, bytes.length, 0, 0, 0),
    `send ${bytes.length} bytes to the kernel`,
  )
}

/** Receives one datagram, as a view of `buffer`. Throws EAGAIN after the timeout, ENOBUFS when answers were lost. */
export function receiveInto(fd: number, buffer: Uint8Array): Uint8Array {
  const length = checked(
    syscall(number.recvfrom, fd, buffer, buffer.length, MSG_TRUNC, 0, 0),
    'receive from the kernel',
  )
  if (length <= buffer.length) return buffer.subarray(0, length)
  throw new Fault(`the kernel sent ${length} bytes at once`, { errno: 'EMSGSIZE' })
}

/** Returns struct sockaddr_in or sockaddr_in6. */
export function socketAddress(address: Address, port: number): Uint8Array {
  const is4 = address.family === 4
  const bytes = new Uint8Array(new ArrayBuffer(is4 ? 16 : 28))
  const view = new DataView(bytes.buffer)
  view.setUint16(0, is4 ? AF_INET : AF_INET6, true)
  view.setUint16(2, port)
  bytes.set(addressBytes(address), is4 ? 4 : 8)
  return bytes
}

function checked(returned: number, action: string): number {
  if (returned >= 0) return returned
  const errno = errnoName(-returned)
  throw new Fault(`${action}: ${errno}`, { errno })
}
