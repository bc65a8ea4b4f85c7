import { dlopen, FFIType, read as memory, ptr } from 'bun:ffi'

/*
 * Starts programs with posix_spawn and waits for their end, without the event loop: what Bun.spawn adds to a call of
 * some milliseconds is a large part of it, and not the same each time. Whatever is measured, is started by this.
 */
const { symbols: libc } = dlopen('libc.so.6', {
  __errno_location: { args: [], returns: 'ptr' },
  pipe2: { args: ['buffer', 'i32'], returns: 'i32' },
  fcntl: { args: ['i32', 'i32', 'i32'], returns: 'i32' },
  read: { args: ['i32', 'buffer', 'buffer_length'], returns: FFIType.i64_fast },
  write: { args: ['i32', 'buffer', 'buffer_length'], returns: FFIType.i64_fast },
  close: { args: ['i32'], returns: 'i32' },
  poll: { args: ['buffer', 'u64', 'i32'], returns: 'i32' },
  kill: { args: ['i32', 'i32'], returns: 'i32' },
  wait4: { args: ['i32', 'buffer', 'i32', 'buffer'], returns: 'i32' },
  syscall: { args: ['i64', 'i64', 'i64'], returns: FFIType.i64_fast },
  posix_spawn: { args: ['buffer', 'cstring', 'buffer', 'buffer', 'buffer', 'buffer'], returns: 'i32' },
  posix_spawn_file_actions_init: { args: ['buffer'], returns: 'i32' },
  posix_spawn_file_actions_adddup2: { args: ['buffer', 'i32', 'i32'], returns: 'i32' },
  posix_spawn_file_actions_destroy: { args: ['buffer'], returns: 'i32' },
  posix_spawnattr_init: { args: ['buffer'], returns: 'i32' },
  posix_spawnattr_setflags: { args: ['buffer', 'i16'], returns: 'i32' },
  posix_spawnattr_setsigdefault: { args: ['buffer', 'buffer'], returns: 'i32' },
  posix_spawnattr_setsigmask: { args: ['buffer', 'buffer'], returns: 'i32' },
})

const SYS_PIDFD_OPEN = 434
const O_CLOEXEC = 0o2000000
const O_NONBLOCK = 0o4000
const F_SETFL = 4
const F_GETPIPE_SZ = 1032
const POLLIN = 1
const SIGKILL = 9
const SETSIGDEF_AND_SETSIGMASK = 0x04 | 0x08
/** Larger than glibc's structs of posix_spawn on any processor: bytes. */
const STRUCT_BYTES = 512
const SIGSET_BYTES = 128
const CHUNK_BYTES = 64 << 10

export type Program = {
  readonly path: string
  /** Without the program's own name. */
  readonly args?: readonly string[]
  /** All of the environment. */
  readonly env: Readonly<Record<string, string>>
  /** Standard input, up to 64 KiB; closed behind it. */
  readonly input?: string
  /** Whether its standard output has no room: it waits with its first answer until `drainOutput`. */
  readonly isOutputFull?: boolean
}

/** A program on its way. */
export type Running = {
  readonly path: string
  readonly pid: number
  readonly pidfd: number
  readonly stdout: number
  readonly stderr: number
  /** See Bun.nanoseconds. */
  readonly startedNs: number
}

export type Ended = {
  readonly exitCode: number
  /** From just before the start until the end was known. */
  readonly ms: number
  /** Time on a processor, user and system, of the program and of what it waited for. */
  readonly cpuMs: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs a program to its end. Kills it and throws when it takes longer than `timeoutMs`. */
export function runProgram(program: Program, timeoutMs = 60_000): Ended {
  return waitForOne([startProgram(program)], timeoutMs).ended
}

/** Starts a program in the namespaces of this thread. Throws when it can't be started. */
export function startProgram(program: Program): Running {
  const { path, args = [], env, input = '' } = program
  const [stdin, stdout, stderr] = [makePipe(), makePipe(), makePipe()]
  writeInput(stdin.write, input)
  if (program.isOutputFull) fill(stdout.write)
  const argv = pointerList([path, ...args])
  const envp = pointerList(Object.entries(env).map(([name, value]) => `${name}=${value}`))
  const actions = fileActions([stdin.read, stdout.write, stderr.write])
  const pid = new Int32Array(new ArrayBuffer(8))
  const startedNs = Bun.nanoseconds()
  const outcome = libc.posix_spawn(pid, path, actions, ATTRIBUTES, argv.list, envp.list)
  libc.posix_spawn_file_actions_destroy(actions)
  for (const fd of [stdin.read, stdout.write, stderr.write]) libc.close(fd)
  if (outcome !== 0) throw new Error(`${path} could not be started: errno ${outcome}`)
  const id = pid[0] ?? 0
  const pidfd = Number(libc.syscall(SYS_PIDFD_OPEN, id, 0))
  if (pidfd < 0) throw new Error('pidfd_open failed: Linux 5.3 or newer is needed')
  return { path, pid: id, pidfd, stdout: stdout.read, stderr: stderr.read, startedNs }
}

/** Takes what stands in the way of a program's first answer out of the pipe. */
export function drainOutput({ stdout, path }: Running): void {
  for (let left = libc.fcntl(stdout, F_GETPIPE_SZ, 0); left > 0; ) {
    const room = bytesOf(left)
    const count = Number(libc.read(stdout, room, room))
    if (count <= 0) throw new Error(`the output of ${path} could not be read: errno ${errno()}`)
    left -= count
  }
}

/** Waits until one of the programs has ended. Kills them all and throws when none does within `timeoutMs`. */
export function waitForOne(
  running: readonly Running[],
  timeoutMs = 60_000,
): { readonly one: Running; readonly ended: Ended } {
  const one = firstReady(running, timeoutMs)
  const [status, usage] = [new Int32Array(new ArrayBuffer(8)), new DataView(new ArrayBuffer(256))]
  if (libc.wait4(one.pid, status, 0, usage) !== one.pid)
    throw new Error(`${one.path} was not there to wait for`)
  const ms = (Bun.nanoseconds() - one.startedNs) / 1e6
  const [stdout, stderr] = [readAll(one.stdout), readAll(one.stderr)]
  for (const fd of [one.stdout, one.stderr, one.pidfd]) libc.close(fd)
  return { one, ended: { exitCode: exitCodeOf(status[0] ?? 0), ms, cpuMs: cpuMsOf(usage), stdout, stderr } }
}

/** Ends a program that would not end by itself. */
export function kill(running: Running): void {
  libc.kill(running.pid, SIGKILL)
  waitForOne([running])
}

/** Waits with the processor idle. */
export function pause(ms: number): void {
  Bun.sleepSync(ms)
}

function firstReady(running: readonly Running[], timeoutMs: number): Running {
  // struct pollfd: the descriptor, then what is asked for and what was found, 16 bits each.
  const polled = new DataView(new ArrayBuffer(8 * running.length))
  for (const [i, { pidfd }] of running.entries()) {
    polled.setInt32(8 * i, pidfd, true)
    polled.setInt16(8 * i + 4, POLLIN, true)
  }
  const count = libc.poll(polled, running.length, timeoutMs)
  const one = running.find((_, i) => polled.getInt16(8 * i + 6, true) !== 0)
  if (count > 0 && one) return one
  for (const { pid } of running) libc.kill(pid, SIGKILL)
  throw new Error(`${running[0]?.path} did not end within ${timeoutMs / 1000} s`)
}

/** 128 and the number for a signal, as a shell says it. */
function exitCodeOf(status: number): number {
  const signal = status & 0x7f
  return signal === 0 ? (status >> 8) & 0xff : 128 + signal
}

/** struct rusage begins with user and system time, seconds and microseconds each. Its memory is of no use: a child
 * that shared ours until exec counts ours as its own. */
function cpuMsOf(usage: DataView): number {
  const word = (index: number) => Number(usage.getBigInt64(8 * index, true))
  return (word(0) + word(2)) * 1000 + (word(1) + word(3)) / 1000
}

/** What is in the pipe now: a process that outlives the program may still hold the other end. */
function readAll(fd: number): string {
  libc.fcntl(fd, F_SETFL, O_NONBLOCK)
  const chunk = bytesOf(CHUNK_BYTES)
  const count = Number(libc.read(fd, chunk, chunk))
  return new TextDecoder().decode(chunk.subarray(0, Math.max(0, count)))
}

function makePipe(): { readonly read: number; readonly write: number } {
  const ends = new Int32Array(new ArrayBuffer(8))
  if (libc.pipe2(ends, O_CLOEXEC) !== 0) throw new Error(`no pipe: errno ${errno()}`)
  return { read: ends[0] ?? -1, write: ends[1] ?? -1 }
}

/** Before the start: the pipe holds it all, so nobody has to write while the program runs. */
function writeInput(fd: number, input: string): void {
  const bytes = new TextEncoder().encode(input)
  if (bytes.length > CHUNK_BYTES) throw new Error(`${bytes.length} bytes of input do not fit a pipe`)
  if (bytes.length > 0 && Number(libc.write(fd, bytes, bytes)) !== bytes.length)
    throw new Error(`the input could not be written: errno ${errno()}`)
  libc.close(fd)
}

function fill(fd: number): void {
  const bytes = bytesOf(libc.fcntl(fd, F_GETPIPE_SZ, 0))
  if (Number(libc.write(fd, bytes, bytes)) !== bytes.length) throw new Error(`the pipe was not empty`)
}

function bytesOf(length: number): Uint8Array {
  return new Uint8Array(new ArrayBuffer(length))
}

/** `char *list[]` with the texts behind it, in one piece of memory that does not move. */
function pointerList(texts: readonly string[]): { readonly list: Uint8Array } {
  const encoded = texts.map((text) => new TextEncoder().encode(`${text}\0`))
  const head = 8 * (texts.length + 1)
  const list = new Uint8Array(new ArrayBuffer(head + encoded.reduce((sum, { length }) => sum + length, 0)))
  const view = new DataView(list.buffer)
  const base = ptr(list)
  let at = head
  for (const [i, bytes] of encoded.entries()) {
    view.setBigUint64(8 * i, BigInt(base + at), true)
    list.set(bytes, at)
    at += bytes.length
  }
  return { list }
}

function fileActions(fds: readonly number[]): Uint8Array {
  const actions = bytesOf(STRUCT_BYTES)
  libc.posix_spawn_file_actions_init(actions)
  for (const [to, from] of fds.entries()) libc.posix_spawn_file_actions_adddup2(actions, from, to)
  return actions
}

/** Bun ignores some signals and a child would go on doing so: it starts as from a shell. */
const ATTRIBUTES = defaultSignals()

function defaultSignals(): Uint8Array {
  const attributes = bytesOf(STRUCT_BYTES)
  const [all, none] = [new Uint8Array(SIGSET_BYTES).fill(0xff), new Uint8Array(SIGSET_BYTES)]
  libc.posix_spawnattr_init(attributes)
  libc.posix_spawnattr_setsigdefault(attributes, all)
  libc.posix_spawnattr_setsigmask(attributes, none)
  libc.posix_spawnattr_setflags(attributes, SETSIGDEF_AND_SETSIGMASK)
  return attributes
}

function errno(): number {
  const at = libc.__errno_location()
  return at ? memory.i32(at, 0) : 0
}
