import { dlopen, FFIType, ptr, read } from 'bun:ffi'
import { constants } from 'node:os'
import type { Argument, Runtime, SpawnEnd, SpawnRequest } from './runtime.ts'

const WORD = 'i64'
const { symbols: libc } = dlopen('libc.so.6', {
  __errno_location: { args: [], returns: 'ptr' },
  syscall: { args: [WORD, WORD, WORD, WORD, WORD, WORD, WORD], returns: FFIType.i64_fast },
})
const MAX_ARGUMENTS = 6
const NLA_TYPE_MASK = 0x3fff

export const runtime: Runtime = {
  arch: process.arch === 'arm64' ? 'arm64' : 'x64',
  syscall,
  addressOf: (bytes) => (bytes.length === 0 ? 0 : ptr(bytes)),
  attribute,
  utf8: (text) => new TextEncoder().encode(text),
  sha256: (text) => new Bun.CryptoHasher('sha256').update(text).digest('hex'),
  spawn,
}

function attribute(bytes: Uint8Array, offset: number, type: number): Uint8Array | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  let found: Uint8Array | undefined
  for (let at = offset; at + 4 <= bytes.length; ) {
    const length = view.getUint16(at, true)
    if (length < 4 || at + length > bytes.length) break
    if ((view.getUint16(at + 2, true) & NLA_TYPE_MASK) === type) found = bytes.subarray(at + 4, at + length)
    at += (length + 3) & ~3
  }
  return found
}

function syscall(number: number, ...args: Argument[]): number {
  if (args.length > MAX_ARGUMENTS) throw new RangeError(`${args.length} arguments for a system call`)
  const kept = [number, ...args].map(toWordOrBytes)
  const [n = 0, a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = kept.map((one) => {
    return typeof one === 'number' ? one : runtime.addressOf(one)
  })
  const returned = Number(libc.syscall(n, a, b, c, d, e, f))
  // Right after the call, before any other code runs.
  const errnoAt = returned === -1 ? libc.__errno_location() : null
  return errnoAt ? -read.i32(errnoAt, 0) : returned
}

function toWordOrBytes(value: unknown): number | Uint8Array {
  if (value instanceof Uint8Array) return value
  if (typeof value === 'number') {
    if (Number.isSafeInteger(value)) return value
    throw new RangeError(`${value} is not an integer that the kernel can be handed`)
  }
  if (typeof value !== 'string') {
    throw new TypeError('only a number, a string or a Uint8Array can be handed to the kernel')
  }
  if (value.includes('\0')) throw new TypeError('a text with a NUL byte cannot be handed to the kernel')
  return runtime.utf8(`${value}\0`)
}

function spawn({ path, env, stdin, timeoutMs, maxOutputBytes }: SpawnRequest): SpawnEnd {
  try {
    const child = Bun.spawnSync([path], {
      env,
      stdin: new Blob([stdin]),
      stdout: 'pipe',
      stderr: 'inherit',
      timeout: timeoutMs,
      maxBuffer: maxOutputBytes,
      // Bun waits for the end of one that ignores SIGTERM.
      killSignal: 'SIGKILL',
    })
    if (child.exitedDueToTimeout) return { end: 'timeout' }
    if (child.exitedDueToMaxBuffer) return { end: 'tooMuchOutput' }
    const { exitCode, signalCode, stdout } = child
    if (!signalCode) return { end: 'exit', exitCode, stdout }
    return { end: 'signal', signal: constants.signals[signalCode as NodeJS.Signals], stdout }
  } catch (error) {
    const { syscall: failed, code = '' } = error as { syscall?: string; code?: string }
    const errno = constants.errno[code as keyof typeof constants.errno]
    if (failed !== 'posix_spawn' || errno === undefined) throw error
    return { end: 'notStarted', errno }
  }
}
