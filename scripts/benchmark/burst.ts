import type { Netns } from '../../test/support/sandbox.ts'
import { type Bench, createBenches } from './benches.ts'
import type { Contender, Experiment, Sample } from './experiment.ts'
import type { Subject } from './networks.ts'
import {
  type Added,
  callOf,
  checkedOutput,
  type Network,
  nextContainerId,
  type Verb,
} from './plugin_calls.ts'
import { pause, type Running, startProgram, waitForOne } from './processes.ts'

const PODS = 100
/** As many calls at a time as a runtime has under way on a busy node. */
const AT_A_TIME = 8
/** Then the addresses of the last pods are settled as well. */
const AGE_MS = 1500

/** Many pods at once, as when a node starts or is drained. */
export function burstExperiment(subjects: readonly Subject[], rounds: number): Experiment {
  return {
    title: `${PODS} pods, ${AT_A_TIME} at a time, ipMasq`,
    unit: 'ms',
    rounds,
    warmUps: 0,
    secondsPerRound: 14,
    prepare: () => {
      const { benches, remove } = createBenches(subjects)
      return { contenders: benches.map(burstContender), remove }
    },
  }
}

function burstContender({ contender, network, pods }: Bench): Contender {
  const on = network({ masquerade: true, subnet4: '10.10.0.0/24' })
  const idle = pods(PODS)
  return {
    ...contender,
    measure: () => {
      const added: Added[] = []
      const ADD = burst(on, 'ADD', idle.map(unattached), (pod) => added.push(pod))
      pause(AGE_MS)
      const DEL = burst(on, 'DEL', added, () => {})
      return { ADD, DEL }
    },
  }
}

function unattached(pod: Netns): Added {
  return { pod, containerId: nextContainerId(), prevResult: {} }
}

/** From the first start to the last end. `onEnd` gets each pod with what its call has answered. */
function burst(network: Network, verb: Verb, pods: readonly Added[], onEnd: (pod: Added) => void): Sample {
  const calls = pods.map((pod) => ({ pod, program: callOf(network, verb, pod) }))
  const running = new Map<Running, Added>()
  let [next, cpuMs] = [0, 0]
  const started = Bun.nanoseconds()
  while (next < calls.length || running.size > 0) {
    const start = running.size < AT_A_TIME ? calls[next] : undefined
    if (start) {
      next += 1
      running.set(
        network.node.enter(() => startProgram(start.program)),
        start.pod,
      )
      continue
    }
    const { one, ended } = waitForOne([...running.keys()])
    cpuMs += ended.cpuMs
    const pod = running.get(one)
    running.delete(one)
    const prevResult = checkedOutput(network, verb, ended)
    if (pod) onEnd({ ...pod, prevResult })
  }
  return { value: (Bun.nanoseconds() - started) / 1e6, cpuMs }
}
