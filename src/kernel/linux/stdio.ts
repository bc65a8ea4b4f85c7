import { Code, Fault } from '../../core/errors.ts'
import { textBytes } from '../../core/text.ts'
import { readString } from '../netlink/message.ts'
import { libc } from './libc.ts'

const CHUNK_BYTES = 16 * 1024
/** Bounds a stream without an end; what a command can take is decided by whoever reads the text. */
const MAX_BYTES = 256 << 20
const MAX_FAILURES = 1000

/** All of standard input as text, up to 256 MiB. */
export function readStandardInput(): string {
  let bytes = new Uint8Array(new ArrayBuffer(CHUNK_BYTES))
  let length = 0
  for (let failures = 0; failures < MAX_FAILURES; ) {
    const room = bytes.subarray(length)
    const count = Number(libc.read(0, room, room))
    if (count === 0) return wholeText(bytes.subarray(0, length))
    if (count < 0) failures++
    else length += count
    if (length > MAX_BYTES)
      throw new Fault(`more than ${MAX_BYTES} bytes on standard input`, { code: Code.decode })
    if (length === bytes.length) bytes = grown(bytes)
  }
  throw new Fault('standard input could not be read', { code: Code.io })
}

/** Writes the whole text; gives up when nobody reads any more. */
export function writeStandardOutput(text: string): void {
  const bytes = textBytes(`${text}\n`)
  for (let done = 0, failures = 0; done < bytes.length && failures < MAX_FAILURES; ) {
    const rest = bytes.subarray(done)
    const count = Number(libc.write(1, rest, rest))
    if (count < 0) failures++
    else done += count
  }
}

/** Ends the process at once: nothing is left to flush. */
export function exit(code: number): void {
  libc._exit(code)
}

function grown(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const larger = new Uint8Array(new ArrayBuffer(2 * bytes.length))
  larger.set(bytes)
  return larger
}

/** What comes after a NUL would be passed over in silence. */
function wholeText(bytes: Uint8Array): string {
  if (!bytes.includes(0)) return readString(bytes)
  throw new Fault('a NUL byte on standard input', {
    code: Code.decode,
    cure: 'Send the network configuration as JSON text in UTF-8.',
  })
}
