import { Fault } from '../../core/errors.ts'
import { errnoName } from './errno.ts'
import { lastErrno, libc } from './libc.ts'

/* The calls of libc that touch sockets and namespaces. Each throws a Fault with the errno when the kernel refuses. */
const AF_NETLINK = 16
const SOCK_RAW_CLOEXEC = 3 | 0o2000000
/** Not inherited, no waiting for the other end of a FIFO, no terminal for us: the path may be anything. */
const OPEN_FLAGS = 0o2000000 | 0o4000 | 0o400
const NS_GET_NSTYPE = 0xb703
const CLONE_NEWNET = 0x40000000
const MSG_TRUNC = 0x20

/** Opens a path that may be a magic link such as /proc/PID/ns/net. */
export function openNamespace(path: string): number {
  return checked(libc.open(path, OPEN_FLAGS, 0), `open ${path}`)
}

export function closeDescriptor(fd: number): void {
  libc.close(fd)
}

/** Whether the descriptor is a network namespace, and not a file or another kind of namespace. */
export function isNetworkNamespace(fd: number): boolean {
  return libc.ioctl(fd, NS_GET_NSTYPE, 0) === CLONE_NEWNET
}

/** Moves the calling thread into a network namespace. */
export function enterNamespace(fd: number): void {
  checked(libc.setns(fd, CLONE_NEWNET), 'enter a network namespace')
}

export function openSocket(protocol: number): number {
  return checked(libc.socket(AF_NETLINK, SOCK_RAW_CLOEXEC, protocol), 'open a netlink socket')
}

/** True if the kernel knows the option. */
export function setOption(fd: number, level: number, option: number, value: Uint8Array): boolean {
  return libc.setsockopt(fd, level, option, value, value.length) === 0
}

export function sendAll(fd: number, bytes: Uint8Array): void {
  checked(Number(libc.send(fd, bytes, bytes, 0)), `send ${bytes.length} bytes to the kernel`)
}

/** One datagram, as a view of `buffer`. Throws EAGAIN when the time is up, ENOBUFS when answers were lost. */
export function receiveInto(fd: number, buffer: Uint8Array): Uint8Array {
  const length = checked(Number(libc.recv(fd, buffer, buffer, MSG_TRUNC)), 'receive from the kernel')
  if (length <= buffer.length) return buffer.subarray(0, length)
  throw new Fault(`the kernel sent ${length} bytes at once`, { errno: 'EMSGSIZE' })
}

/** errno is read straight after the call, before anything else of ours can run. */
function checked(returned: number, action: string): number {
  if (returned >= 0) return returned
  const errno = errnoName(lastErrno())
  throw new Fault(`${action}: ${errno}`, { errno })
}
