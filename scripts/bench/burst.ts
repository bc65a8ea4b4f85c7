import {
  type Added,
  type Bench,
  commandOf,
  experimentOn,
  type Network,
  outputOf,
  unattached,
  type Verb,
} from './nodes.ts'
import type { Contender, Experiment } from './rounds.ts'
import type { Subject } from './subjects.ts'

const PODS = 100
/** The number of concurrent calls of a runtime on a busy node. */
const AT_A_TIME = 8
/** After this time the addresses of the last pods are no longer tentative. */
const AGE_MS = 1500

/** Measures many pods at once, as when a node starts or is drained. */
export function burstExperiment(subjects: readonly Subject[], rounds: number): Experiment {
  return experimentOn(subjects, {
    title: `${PODS} pods, ${AT_A_TIME} at a time, ipMasq`,
    unit: 'ms',
    rounds,
    warmUps: 0,
    contendersOf: (bench) => [burstContender(bench)],
  })
}

function burstContender({ contender, network, pods }: Bench): Contender {
  const on = network({ masquerade: true, subnet4: '10.10.0.0/24' })
  const idle = pods(PODS)
  return {
    ...contender,
    measure: async () => {
      const added = idle.map(unattached)
      const ADD = await burst(on, 'ADD', added)
      await Bun.sleep(AGE_MS)
      const DEL = await burst(on, 'DEL', ADD.pods)
      return { ADD: ADD.ms, DEL: DEL.ms }
    },
  }
}

/** Returns the time from the first start to the last end, and the pods with their results. */
async function burst(
  network: Network,
  verb: Verb,
  pods: readonly Added[],
): Promise<{ ms: number; pods: Added[] }> {
  const waiting = pods.map((pod) => ({ pod, ...commandOf(network, verb, pod) }))
  const done: Added[] = []
  const started = Bun.nanoseconds()
  const worker = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const { command, env, input, pod } = next
      const child = network.node.enter(() =>
        Bun.spawn(command, { env, stdin: input, stdout: 'pipe', stderr: 'inherit' }),
      )
      const [exitCode, text] = await Promise.all([child.exited, new Response(child.stdout).text()])
      done.push({ ...pod, prevResult: outputOf(network, verb, { exitCode, text }) })
    }
  }
  await Promise.all(Array.from({ length: AT_A_TIME }, worker))
  return { ms: (Bun.nanoseconds() - started) / 1e6, pods: done }
}
