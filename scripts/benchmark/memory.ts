import { readdirSync, readFileSync } from 'node:fs'
import { BARE, installBare } from './bare.ts'
import { type Bench, createBenches } from './benches.ts'
import type { Contender, Experiment } from './experiment.ts'
import { REFERENCE, type Subject } from './networks.ts'
import { callOf, checkedOutput, deletePod, nextContainerId } from './plugin_calls.ts'
import { drainOutput, type Program, pause, type Running, startProgram, waitForOne } from './processes.ts'

const DUAL = { masquerade: true, subnet4: '10.10.0.0/24', subnet6: 'fd00:10:10::/64' }
const LOOK_MS = 2
const MAX_LOOKS = 5000
/** The number of the system call write. */
const SYS_WRITE = process.arch === 'arm64' ? 64 : 1
const STDOUT = '0x1'

/**
 * The memory of an ADD with most to do. The process is looked at while it is held in its last act, to write its
 * answer: the pipe is full. Nothing is traced and nothing is changed in it.
 */
export function memoryExperiment(subjects: readonly Subject[], rounds: number, work: string): Experiment {
  return {
    title: 'ADD, dual stack + ipMasq',
    unit: 'MB',
    rounds,
    warmUps: 1,
    secondsPerRound: 0.5,
    prepare: () => {
      const { benches, remove } = createBenches(subjects)
      return { contenders: [...benches.map(memoryContender), bareContender(installBare(work))], remove }
    },
  }
}

function memoryContender({ contender, network, node, pods }: Bench): Contender {
  const on = network(DUAL)
  const [pod] = pods(1)
  return {
    ...contender,
    measure: () => {
      if (!pod) throw new Error('no pod')
      const containerId = nextContainerId()
      const program = callOf(on, 'ADD', { containerId, pod })
      const running = node.enter(() => startProgram({ ...program, isOutputFull: true }))
      const memory = memoryOf(untilItAnswers(running))
      drainOutput(running)
      const { ended } = waitForOne([running])
      deletePod(on, { containerId, pod, prevResult: checkedOutput(on, 'ADD', ended) })
      return memory
    },
  }
}

/** What the runtime takes by itself. */
function bareContender(program: Program): Contender {
  return {
    name: BARE,
    base: REFERENCE,
    measure: () => {
      const running = startProgram({ ...program, isOutputFull: true })
      const memory = memoryOf(untilItAnswers(running))
      drainOutput(running)
      waitForOne([running])
      return memory
    },
  }
}

/** Returns the process id when one of its threads waits in write(1, …). */
function untilItAnswers({ pid, path }: Running): number {
  for (let looks = 0; looks < MAX_LOOKS; looks++) {
    const threads = readdirSync(`/proc/${pid}/task`)
    const calls = threads.map((thread) => readOrEmpty(`/proc/${pid}/task/${thread}/syscall`).split(' '))
    if (calls.some(([number, fd]) => number === `${SYS_WRITE}` && fd === STDOUT)) return pid
    pause(LOOK_MS)
  }
  throw new Error(`${path} did not write an answer within ${(MAX_LOOKS * LOOK_MS) / 1000} s`)
}

/** Private dirty is what a further process of the kind costs; the resident size counts shared file pages as well. */
function memoryOf(pid: number) {
  const dirty = kilobytes(`/proc/${pid}/smaps_rollup`, 'Private_Dirty')
  const resident = kilobytes(`/proc/${pid}/status`, 'VmHWM')
  return { 'private dirty': { value: dirty / 1000 }, 'largest resident size': { value: resident / 1000 } }
}

/** The value of a line such as `VmHWM:  30000 kB`, in units of 1,000 bytes (the kernel's are 1,024). */
function kilobytes(path: string, key: string): number {
  const [, value] = new RegExp(`^${key}:\\s+(\\d+) kB$`, 'm').exec(readFileSync(path, 'utf8')) ?? []
  if (value === undefined) throw new Error(`${path} does not tell ${key}`)
  return Number(value) * 1.024
}

/** A thread may end between the list and the look. */
function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
