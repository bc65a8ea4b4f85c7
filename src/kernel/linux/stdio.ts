import { runtime } from '#runtime'
import { Code, Fault } from '../../core/errors.ts'
import { textBytes } from '../../core/text.ts'
import { numbersOf } from '../../runtime/numbers.ts'
import { readString } from '../netlink/message.ts'
import { Errno, errnoName } from './errno.ts'

const { syscall } = runtime
const number = numbersOf(runtime.arch)
const CHUNK_BYTES = 16 * 1024
/** Bounds an endless stream. The decoder of the text has a lower bound. */
const MAX_BYTES = 256 << 20
/** The bound on calls that a signal interrupts, or that find a non-blocking pipe busy. */
const MAX_INTERRUPTS = 1000

/** Reads all of standard input as text, up to 256 MiB. */
export function readStandardInput(): string {
  let bytes = new Uint8Array(CHUNK_BYTES)
  let length = 0
  for (let interrupts = 0; ; ) {
    const room = bytes.subarray(length)
    const count = syscall(number.read, 0, room, room.length)
    if (count === 0) return wholeText(bytes.subarray(0, length))
    if (count > 0) length += count
    else if (!isPassing(count) || ++interrupts === MAX_INTERRUPTS)
      throw stdioFault('read standard input', count)
    if (length > MAX_BYTES)
      throw new Fault(`more than ${MAX_BYTES} bytes on standard input`, { code: Code.decode })
    if (length === bytes.length) bytes = grown(bytes)
  }
}

/** Writes the whole text and a line feed. Throws a Fault if not all of it could be written. */
export function writeStandardOutput(text: string): void {
  writeAll(1, text)
}

/** Writes a line for people. Ignores errors, as there is no place to report them. */
export function writeStandardError(text: string): void {
  try {
    writeAll(2, text)
  } catch (error) {
    if (!(error instanceof Fault)) throw error
  }
}

/** Ends the process at once, without a flush. */
export function exit(code: number): void {
  syscall(number.exit_group, code)
}

function writeAll(fd: number, text: string): void {
  const bytes = textBytes(`${text}\n`)
  for (let done = 0, interrupts = 0; done < bytes.length; ) {
    const rest = bytes.subarray(done)
    const count = syscall(number.write, fd, rest, rest.length)
    if (count >= 0) done += count
    else if (!isPassing(count) || ++interrupts === MAX_INTERRUPTS)
      throw stdioFault('write standard output', count)
  }
}

function isPassing(outcome: number): boolean {
  return outcome === -Errno.EINTR || outcome === -Errno.EAGAIN
}

function stdioFault(action: string, outcome: number): Fault {
  const errno = errnoName(-outcome)
  return new Fault(`${action}: ${errno}`, { code: Code.io, errno })
}

function grown(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const larger = new Uint8Array(2 * bytes.length)
  larger.set(bytes)
  return larger
}

/** Refuses a NUL: the text behind it would be ignored silently. */
function wholeText(bytes: Uint8Array): string {
  if (!bytes.includes(0)) return readString(bytes)
  throw new Fault('a NUL byte on standard input', {
    code: Code.decode,
    hint: 'Send the network configuration as JSON text in UTF-8.',
  })
}
