import { runtime } from '#runtime'
import { parseAddress } from '../../core/address.ts'
import { Code, Fault } from '../../core/errors.ts'
import { readText, textBytes } from '../../core/text.ts'
import { numbersOf } from '../../runtime/numbers.ts'
import { joined } from '../../runtime/spawn.ts'
import { close } from './disk.ts'
import { Errno, errnoName } from './errno.ts'
import { SOL_SOCKET, setOption, socketAddress } from './net.ts'

const { syscall } = runtime
const number = numbersOf(runtime.arch)
const AF_INET = 2
const SOCK_STREAM_CLOEXEC = 1 | 0o2000000
const SO_RCVTIMEO = 20
const SO_SNDTIMEO = 21
const TIMEOUT_SECONDS = 5
const CHUNK_BYTES = 64 << 10
const MAX_BYTES = 32 << 20

/**
 * Asks a server on this node by HTTP, and returns the body of its answer. Throws a Fault if nobody listens (ECONNREFUSED), if it takes
 * longer than some seconds, and if the answer is not 200.
 */
export function getFromLoopback(port: number, path: string): string {
  const place = `127.0.0.1:${port}`
  const fd = checked(syscall(number.socket, AF_INET, SOCK_STREAM_CLOEXEC, 0), `open a socket to ${place}`)
  try {
    for (const option of [SO_RCVTIMEO, SO_SNDTIMEO]) setOption(fd, SOL_SOCKET, option, timeout())
    const address = socketAddress(parseAddress('127.0.0.1'), port)
    checked(syscall(number.connect, fd, address, address.length), `connect to ${place}`)
    const request = textBytes(`GET ${path} HTTP/1.0\r\nHost: ${place}\r\nConnection: close\r\n\r\n`)
    checked(syscall(number.write, fd, request, request.length), `ask ${place}`)
    return bodyOf(readText(readToEnd(fd, place)), `${place}${path}`)
  } finally {
    close(fd)
  }
}

function readToEnd(fd: number, place: string): Uint8Array {
  const pieces: Uint8Array[] = []
  let length = 0
  while (length <= MAX_BYTES) {
    const chunk = new Uint8Array(CHUNK_BYTES)
    const count = syscall(number.read, fd, chunk, chunk.length)
    if (count === -Errno.EINTR) continue
    if (checked(count, `read from ${place}`) === 0) break
    pieces.push(chunk.subarray(0, count))
    length += count
  }
  return joined(pieces, length)
}

/** Source: RFC 9112, section 2. */
function bodyOf(answer: string, what: string): string {
  const end = answer.indexOf('\r\n\r\n')
  const status = /^HTTP\/1\.[01] (\d{3})/.exec(answer)?.[1]
  if (end < 0 || status === undefined) throw new Fault(`${what}: what answers there does not speak HTTP`)
  const body = answer.slice(end + 4)
  if (status !== '200') throw new Fault(`${what}: ${status} ${body.trim().slice(0, 200)}`)
  return body
}

function timeout(): Uint8Array {
  const bytes = new Uint8Array(new ArrayBuffer(16))
  new DataView(bytes.buffer).setUint32(0, TIMEOUT_SECONDS, true)
  return bytes
}

function checked(returned: number, action: string): number {
  if (returned >= 0) return returned
  const errno = errnoName(-returned)
  throw new Fault(`${action}: ${errno}`, {
    errno,
    ...(returned === -Errno.EAGAIN && { code: Code.tryLater, hint: 'Try again.' }),
  })
}
