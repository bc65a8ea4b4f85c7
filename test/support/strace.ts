import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { answerOf, inputOf, type PluginAnswer, type PluginCall, spawnPlugin } from './plugin.ts'

/*
 * Runs the real binary under strace, from its first own system call to its last. What Bun does to start is left out by
 * the order of things: the configuration is held back, so the process sleeps in its first read of stdin; only then strace
 * is attached, to the main thread alone, on which all of ours runs. Its counters begin there, so the n-th call of a name
 * is the same call in every run. What Bun's engine does for itself in between is small and known: it asks now and then
 * how much memory it has (/proc/self/statm); such calls are told apart by that path.
 */

/** Every call that our code makes; with a question mark those that not all processors have. */
const OURS = [
  'read,openat,statx,ioctl,flock,geteuid,setns,socket,setsockopt,sendto,recvfrom,pread64,pwrite64,linkat,fchmod',
  'getdents64,close,write,exit_group,?rename,?renameat,?renameat2,?unlink,?unlinkat,?rmdir,?mkdir,?mkdirat',
].join()
/** The number of `read`, by which /proc shows in which call a process sleeps. */
const READ = process.arch === 'arm64' ? 63 : 0
const MAX_WAITS = 10_000
const STOPPED = '--- stopped by SIGSTOP ---'

/** One system call of ours. */
export type SystemCall = {
  readonly name: string
  /** The how-manieth of its name it is, from 1, those of Bun's engine counted too: what strace calls `when`. */
  readonly nth: number
  /** As strace shows it. */
  readonly text: string
}

export type Traced = {
  readonly answer: PluginAnswer
  readonly calls: readonly SystemCall[]
  /** Where in `calls` it was killed, stopped or given an error; empty if no call of ours was met. */
  readonly met: readonly number[]
}

/** What strace is to do at some calls of a name: `when` is a number, or such as `3+` for every one from the third on. */
export type Injection = {
  readonly name: string
  readonly when: number | string
  /** Killed, it does not make the call; stopped, it has just made it. */
  readonly effect: 'signal=KILL' | 'signal=STOP' | `error=${string}`
}

/** Calls a plugin as `runPlugin` does, and watches it. */
export async function runTraced(call: PluginCall, ...injections: readonly Injection[]): Promise<Traced> {
  return (await startTraced(call, ...injections)).ended
}

/** A call that is watched, and may have been stopped on its way. */
export type TracedProcess = {
  /** Its calls until `signal=STOP` has stopped it, the last one made; undefined if it has ended without. */
  untilStopped(): Promise<readonly SystemCall[] | undefined>
  /** Lets a stopped one go on. */
  resume(): void
  readonly ended: Promise<Traced>
}

/** The same, for calls that are to stop on the way. */
export async function startTraced(
  call: PluginCall,
  ...injections: readonly Injection[]
): Promise<TracedProcess> {
  const directory = mkdtempSync(join(tmpdir(), 'bowline-strace-'))
  const path = join(directory, 'log')
  const child = spawnPlugin(call, 'pipe')
  const { pid } = child
  await until(`${pid} reads its stdin`, () => sleepsInRead(pid))
  const tracer = await attach(pid, path, injections)
  // Not to a process that was killed in its first read.
  if (isAlive(pid)) child.stdin.write(inputOf(call))
  await child.stdin.end()
  const watch = async (): Promise<Traced> => {
    const answer = await answerOf(child)
    await tracer.exited
    const log = readFileSync(path, 'utf8')
    rmSync(directory, { recursive: true })
    return { answer, ...parseTrace(log) }
  }
  return {
    async untilStopped() {
      const isStopped = () => readFileSync(path, 'utf8').includes(STOPPED)
      await until(`${pid} is stopped`, () => tracer.exitCode !== null || isStopped())
      return tracer.exitCode === null ? parseTrace(readFileSync(path, 'utf8')).calls : undefined
    },
    resume: () => void (isAlive(pid) && process.kill(pid, 'SIGCONT')),
    ended: watch(),
  }
}

/** Whether the process waits for its standard input. */
function sleepsInRead(pid: number): boolean {
  return readFileSync(`/proc/${pid}/syscall`, 'utf8').startsWith(`${READ} 0x0 `)
}

/** The letter that ps shows. */
function stateOf(pid: number): string | undefined {
  return /\) (\w)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1]
}

function isAlive(pid: number): boolean {
  return existsSync(`/proc/${pid}`)
}

/** Polls for at most some ten seconds. */
async function until(what: string, isSo: () => boolean): Promise<void> {
  for (let waits = 0; !isSo(); waits++) {
    if (waits === MAX_WAITS) throw new Error(`waited in vain until ${what}`)
    await sleep(1)
  }
}

/** Starts strace; when it returns, the process sleeps in its read again and nothing of it can be missed. */
async function attach(pid: number, log: string, injections: readonly Injection[]) {
  const effects = injections.flatMap(({ name, when, effect }) => [
    '-e',
    `inject=${name}:${effect}:when=${when}`,
  ])
  const tracer = Bun.spawn(
    ['strace', '-s', '400', '-o', log, '-e', `trace=${OURS}`, ...effects, '-p', `${pid}`],
    { stdin: 'ignore', stdout: 'ignore', stderr: 'pipe' },
  )
  const reader = tracer.stderr.getReader()
  const said = new TextDecoder().decode((await reader.read()).value)
  reader.releaseLock()
  if (!said.includes('attached')) throw new Error(`strace: ${said}`)
  // strace stops the process for a moment before it lets it go on; `S` after `attached` is when that is over.
  await until(`${pid} sleeps again`, () => !isAlive(pid) || stateOf(pid) === 'S')
  return tracer
}

function parseTrace(log: string): Omit<Traced, 'answer'> {
  const counts = new Map<string, number>()
  const calls: SystemCall[] = []
  const met: number[] = []
  const lines = log.trimEnd().split('\n')
  const killed = lines.at(-1) === '+++ killed by SIGKILL +++' ? lines.length - 2 : -1
  let enginesFd: string | undefined
  for (const [at, text] of lines.entries()) {
    const [, name, first] = /^(\w+)\(([^,)]*)/.exec(text) ?? []
    if (text === STOPPED) met.push(calls.length - 1)
    if (!name) continue
    const nth = (counts.get(name) ?? 0) + 1
    counts.set(name, nth)
    if (text.includes('"/proc/self/statm"')) enginesFd = / = (\d+)$/.exec(text)?.[1]
    else if (enginesFd !== undefined && first === enginesFd) {
      if (name === 'close') enginesFd = undefined
    } else {
      // The kernel begins such a call anew by itself, as often as it takes: writes to settings of the network.
      if (calls.at(-1)?.text.endsWith('(To be restarted)')) calls.pop()
      if (at === killed || text.includes('(INJECTED)')) met.push(calls.length)
      calls.push({ name, nth, text })
    }
  }
  // The second read finds the end of the file.
  if (!calls[0]?.text.startsWith('read(0, ') || calls[0].text.includes('""'))
    throw new Error(`the trace does not begin at stdin:\n${log}`)
  return { calls, met }
}
