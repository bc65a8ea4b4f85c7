import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { answerOf, inputOf, type PluginAnswer, type PluginCall, spawnPlugin } from './plugin.ts'

/*
 * Runs the real binary under strace, from its start to its end. It has one thread and makes the same system calls in every
 * run, with one exception: a question that a busy kernel has no answer to yet is asked again. Such repetitions are not
 * listed, so that the n-th call of a name is the same one in every run.
 */

const MAX_WAITS = 10_000
/** What the program does before it asks again. */
const PAUSE = 'nanosleep'
/** Names of calls of which one may come again after a pause. */
const ASKED_AGAIN = ['sendto', 'recvfrom', 'flock']
const STOPPED = '--- stopped by SIGSTOP ---'
/** The kernel has made the program begin the call anew: writes to settings of the network, when another one is at work. */
const RESTARTED = '(To be restarted)'
/**
 * The call that is begun anew so, over and over. Traced processes that do this keep all processors from the one that they
 * wait for, for many seconds: each time they wait 1 ms.
 */
const SPINNING = 'pwrite64'

export type SystemCall = {
  readonly name: string
  /** The how-manieth of its name it is, from 1, without repetitions. */
  readonly nth: number
  /** As strace shows it. */
  readonly text: string
}

export type Traced = {
  readonly answer: PluginAnswer
  /** All; but if it was to be killed or given errors, only those of these names: to show a call takes longer than to make it. */
  readonly calls: readonly SystemCall[]
  /** Those at which it was killed or given an error. */
  readonly met: readonly SystemCall[]
  /** Whether a question was asked again. */
  readonly hasRepeated: boolean
}

/** What strace is to do at some calls of a name. */
export type Injection = {
  readonly name: string
  /** A number, or such as `3+` for every one from the third on. Here repetitions count. */
  readonly when: number | string
  /** Killed, it does not make the call; stopped, it has just made it. */
  readonly effect: 'signal=KILL' | 'signal=STOP' | `error=${string}`
}

/** Calls a plugin as `runPlugin` does, and watches it. */
export async function runTraced(call: PluginCall, ...injections: readonly Injection[]): Promise<Traced> {
  return startTraced(call, ...injections).ended
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
export function startTraced(call: PluginCall, ...injections: readonly Injection[]): TracedProcess {
  const directory = mkdtempSync(join(tmpdir(), 'bowline-strace-'))
  const path = join(directory, 'log')
  const effects = injections.map(({ name, when, effect }) => `--inject=${name}:${effect}:when=${when}`)
  const isStopped = injections.some(({ effect }) => effect === 'signal=STOP')
  const shown =
    injections.length === 0 || isStopped ? ['all'] : [...injections.map(({ name }) => name), PAUSE]
  if (!injections.some(({ name }) => name === SPINNING)) effects.push(`--inject=${SPINNING}:delay_enter=1000`)
  const strace = ['strace', '-s', '400', '-o', path, `--trace=${shown.join()}`, ...effects]
  const child = spawnPlugin({ ...call, inside: [...(call.inside ?? []), ...strace] }, inputOf(call))
  const log = () => (existsSync(path) ? readFileSync(path, 'utf8') : '')
  const watch = async (): Promise<Traced> => {
    const answer = await answerOf(child)
    const traced = parseTrace(log())
    rmSync(directory, { recursive: true })
    return { answer, ...traced }
  }
  return {
    async untilStopped() {
      for (let waits = 0; child.exitCode === null && child.signalCode === null; waits++) {
        if (log().includes(STOPPED)) return parseTrace(log()).calls
        if (waits === MAX_WAITS) throw new Error(`waited in vain until ${child.pid} is stopped`)
        await sleep(1)
      }
      return undefined
    },
    resume() {
      const { pid } = child
      for (const traced of readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' '))
        process.kill(Number(traced), 'SIGCONT')
    },
    ended: watch(),
  }
}

function parseTrace(log: string): Omit<Traced, 'answer'> {
  const calls: SystemCall[] = []
  const met = new Set<SystemCall>()
  const lines = log.trimEnd().split('\n')
  const killed = lines.at(-1) === '+++ killed by SIGKILL +++' ? lines.at(-2) : undefined
  let hasRepeated = false
  let last = ''
  for (const text of lines) {
    const [, name] = /^(\w+)\(/.exec(text) ?? []
    if (!name || name === 'execve') continue
    const isAgain = last.includes(RESTARTED) || (last.startsWith(PAUSE) && ASKED_AGAIN.includes(name))
    last = text
    if (isAgain) calls.length = calls.findLastIndex((call) => call.name === name)
    hasRepeated ||= isAgain
    if (name === PAUSE) continue
    const call = { name, nth: calls.filter((other) => other.name === name).length + 1, text }
    if (text === killed || text.includes('(INJECTED)')) met.add(call)
    calls.push(call)
  }
  return { calls, met: [...met], hasRepeated }
}
