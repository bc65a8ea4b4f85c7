import { numbersOf } from './numbers.ts'
import type { Runtime, SpawnEnd, SpawnRequest } from './runtime.ts'

/* Starts and watches a program by system calls alone. Only for a process with one thread: the child goes on in our memory. */

type Calls = Pick<Runtime, 'arch' | 'syscall' | 'addressOf' | 'utf8'>
type Pipe = { readonly reader: number; readonly writer: number }
/** Arrays of pointers, and the texts that they lead to. */
type Exec = {
  readonly texts: readonly Uint8Array[]
  readonly program: Uint8Array
  readonly argv: Uint8Array
  readonly envp: Uint8Array
}

const EINTR = 4
const EAGAIN = 11
/** The signals that host.c ignores: SIGPIPE and SIGXFSZ. */
const IGNORED = [13, 25]
const SIGCHLD = 17
const SIGKILL = 9
const O_NONBLOCK = 0o4000
const O_CLOEXEC = 0o2000000
const F_SETFL = 4
const POLLIN = 1
const POLLOUT = 4
const CLOCK_MONOTONIC = 1
const SIGNAL_SET_BYTES = 8
const SIGNAL_ACTION_BYTES = 32
const READ_BYTES = 64 << 10
const EXEC_FAILED = 127

export function forkAndExecute(calls: Calls, request: SpawnRequest): SpawnEnd {
  return new Child(calls, request).run()
}

class Child {
  readonly #calls: Calls
  readonly #request: SpawnRequest
  readonly #number: ReturnType<typeof numbersOf>
  readonly #open = new Set<number>()

  constructor(calls: Calls, request: SpawnRequest) {
    this.#calls = calls
    this.#request = request
    this.#number = numbersOf(calls.arch)
  }

  run(): SpawnEnd {
    try {
      const [stdin, stdout, failure] = [this.#pipe(), this.#pipe(), this.#pipe()]
      const exec = this.#prepareExec()
      const child = this.#calls.syscall(this.#number.clone, SIGCHLD, 0, 0, 0, 0)
      if (child === 0) this.#become(exec, stdin.reader, stdout.writer, failure.writer)
      if (child < 0) return { end: 'notStarted', errno: -child }
      for (const fd of [stdin.reader, stdout.writer, failure.writer]) this.#close(fd)
      const errno = this.#readErrno(failure.reader)
      if (errno === 0) return this.#serve(child, stdin.writer, stdout.reader)
      this.#wait(child)
      return { end: 'notStarted', errno }
    } catch (error) {
      if (error instanceof Refusal) return { end: 'notStarted', errno: error.errno }
      throw error
    } finally {
      for (const fd of [...this.#open]) this.#close(fd)
    }
  }

  /**
   * What the child needs is laid out before it exists: all that it does afterwards is system calls. The texts must be held as long
   * as pointers lead to them.
   */
  #prepareExec(): Exec {
    const { path, env } = this.#request
    const texts = [path, ...Object.entries(env).map(([key, value]) => `${key}=${value}`)].map((text) =>
      this.#calls.utf8(`${text}\0`),
    )
    const [program = new Uint8Array(), ...variables] = texts
    return { texts, program, argv: this.#pointers([program]), envp: this.#pointers(variables) }
  }

  /** Addresses as an array for the kernel, closed by a null. */
  #pointers(texts: readonly Uint8Array[]): Uint8Array {
    const bytes = new Uint8Array(8 * (texts.length + 1))
    const view = new DataView(bytes.buffer)
    for (const [i, text] of texts.entries()) {
      const address = this.#calls.addressOf(text)
      view.setUint32(8 * i, address % 2 ** 32, true)
      view.setUint32(8 * i + 4, Math.floor(address / 2 ** 32), true)
    }
    return bytes
  }

  /** In the child. Never returns. */
  #become({ program, argv, envp }: Exec, stdin: number, stdout: number, failure: number): void {
    const { syscall } = this.#calls
    // Ignored signals stay ignored across an exec; the program is to find what it would find under its own caller.
    for (const signal of IGNORED)
      syscall(this.#number.rt_sigaction, signal, new Uint8Array(SIGNAL_ACTION_BYTES), 0, SIGNAL_SET_BYTES)
    syscall(this.#number.dup3, stdin, 0, 0)
    syscall(this.#number.dup3, stdout, 1, 0)
    const errno = -syscall(this.#number.execve, program, argv, envp)
    syscall(this.#number.write, failure, new Uint8Array([errno & 0xff, errno >> 8]), 2)
    syscall(this.#number.exit_group, EXEC_FAILED)
  }

  /** 0 once the program runs: the exec has closed the other end. */
  #readErrno(failure: number): number {
    const bytes = new Uint8Array(2)
    let count = -EINTR
    while (count === -EINTR) count = this.#calls.syscall(this.#number.read, failure, bytes, bytes.length)
    return count === bytes.length ? (bytes[0] ?? 0) | ((bytes[1] ?? 0) << 8) : 0
  }

  /** Writes the child's input and reads its output without blocking on either, until the output ends or the time is up. */
  #serve(child: number, stdin: number, stdout: number): SpawnEnd {
    const deadline = this.#now() + this.#request.timeoutMs
    const pieces: Uint8Array[] = []
    let input: Uint8Array = this.#calls.utf8(this.#request.stdin)
    let [length, ended] = [0, false]
    this.#calls.syscall(this.#number.fcntl, stdin, F_SETFL, O_NONBLOCK)
    while (!ended && length <= this.#request.maxOutputBytes) {
      if (input.length === 0) this.#close(stdin)
      const ready = this.#poll(stdout, input.length > 0 ? stdin : -1, deadline - this.#now())
      if (ready === 'timeout') return this.#kill(child, 'timeout')
      if (ready.writable) input = this.#feed(stdin, input)
      if (!ready.readable) continue
      const piece = this.#read(stdout)
      ended = piece === undefined
      length += piece?.length ?? 0
      if (piece) pieces.push(piece)
    }
    if (!ended) return this.#kill(child, 'tooMuchOutput')
    this.#close(stdin)
    return endOf(this.#wait(child), joined(pieces, length))
  }

  /** The bytes left to write: none once the reader is gone. */
  #feed(stdin: number, input: Uint8Array): Uint8Array {
    const count = this.#calls.syscall(this.#number.write, stdin, input, input.length)
    if (count < 0) return count === -EAGAIN || count === -EINTR ? input : new Uint8Array()
    return input.subarray(count)
  }

  /** Reads the next piece of output, empty after an interruption; undefined at its end. */
  #read(stdout: number): Uint8Array | undefined {
    const bytes = new Uint8Array(READ_BYTES)
    const count = this.#calls.syscall(this.#number.read, stdout, bytes, bytes.length)
    if (count === -EINTR) return new Uint8Array()
    return count > 0 ? bytes.slice(0, count) : undefined
  }

  #poll(stdout: number, stdin: number, leftMs: number): 'timeout' | { readable: boolean; writable: boolean } {
    if (leftMs <= 0) return 'timeout'
    const [entries, time] = [new Uint8Array(16), new Uint8Array(16)]
    const view = new DataView(entries.buffer)
    view.setInt32(0, stdout, true)
    view.setInt16(4, POLLIN, true)
    view.setInt32(8, stdin, true)
    view.setInt16(12, POLLOUT, true)
    const clock = new DataView(time.buffer)
    clock.setUint32(0, Math.floor(leftMs / 1000), true)
    clock.setUint32(8, Math.floor((leftMs % 1000) * 1e6), true)
    const count = this.#calls.syscall(this.#number.ppoll, entries, 2, time, 0, SIGNAL_SET_BYTES)
    if (count === 0) return 'timeout'
    return { readable: view.getInt16(6, true) !== 0, writable: view.getInt16(14, true) !== 0 }
  }

  #kill(child: number, end: 'timeout' | 'tooMuchOutput'): SpawnEnd {
    this.#calls.syscall(this.#number.kill, child, SIGKILL)
    this.#wait(child)
    return { end }
  }

  /** Returns the status of the child as wait(2) packs it. */
  #wait(child: number): number {
    const status = new Uint8Array(4)
    let waited = -EINTR
    while (waited === -EINTR) waited = this.#calls.syscall(this.#number.wait4, child, status, 0, 0)
    return new DataView(status.buffer).getUint32(0, true)
  }

  #now(): number {
    const time = new Uint8Array(16)
    this.#calls.syscall(this.#number.clock_gettime, CLOCK_MONOTONIC, time)
    const view = new DataView(time.buffer)
    return view.getUint32(0, true) * 1000 + view.getUint32(8, true) / 1e6
  }

  #pipe(): Pipe {
    const fds = new Uint8Array(8)
    const made = this.#calls.syscall(this.#number.pipe2, fds, O_CLOEXEC)
    if (made < 0) throw new Refusal(-made)
    const view = new DataView(fds.buffer)
    const pipe = { reader: view.getInt32(0, true), writer: view.getInt32(4, true) }
    this.#open.add(pipe.reader).add(pipe.writer)
    return pipe
  }

  #close(fd: number): void {
    if (this.#open.delete(fd)) this.#calls.syscall(this.#number.close, fd)
  }
}

/** The kernel gave no pipe. */
class Refusal extends Error {
  readonly errno: number

  constructor(errno: number) {
    super(`errno ${errno}`)
    this.errno = errno
  }
}

function endOf(status: number, stdout: Uint8Array): SpawnEnd {
  const signal = status & 0x7f
  if (signal !== 0) return { end: 'signal', signal, stdout }
  return { end: 'exit', exitCode: (status >> 8) & 0xff, stdout }
}

/** Returns the pieces as one; `length` is that of all of them. */
export function joined(pieces: readonly Uint8Array[], length: number): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(length)
  let at = 0
  for (const piece of pieces) {
    whole.set(piece, at)
    at += piece.length
  }
  return whole
}
