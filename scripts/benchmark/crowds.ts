import { mkdirSync, writeFileSync } from 'node:fs'
import type { Netns } from '../../test/support/sandbox.ts'
import { type Bench, createBenches } from './benches.ts'
import { quietAdd } from './calls.ts'
import type { Contender, Experiment } from './experiment.ts'
import { REFERENCE, type Subject } from './networks.ts'
import { addPod, deletePod, type Network, nextContainerId } from './plugin_calls.ts'
import { runProgram } from './processes.ts'

const WIDE = { masquerade: false, subnet4: '10.32.0.0/16' }
const MASQUERADED = { masquerade: true, subnet4: '10.32.0.0/16' }
const PODS = 250
const ELEMENTS = 1000
const ATTEMPT_MS = 120_000

/** ADD in a network that has leases already, beside one that has none. */
export function leaseExperiment(
  subjects: readonly Subject[],
  { rounds, counts, referenceEvery }: { rounds: number; counts: readonly number[]; referenceEvery: number },
): Experiment {
  const compared = subjects.filter(({ name }) => name === 'l3' || name === REFERENCE)
  return {
    title: 'leases present',
    unit: 'ms',
    rounds,
    warmUps: 1,
    secondsPerRound: 0.12,
    prepare: () => {
      const { benches, remove } = createBenches(compared)
      const contenders = benches.flatMap((bench) =>
        [0, ...counts].map((count) => ({
          ...leaseContender(bench, count),
          ...(bench.subject.name === REFERENCE && { every: referenceEvery }),
        })),
      )
      return { contenders, remove }
    },
  }
}

function leaseContender(bench: Bench, count: number): Contender {
  const plain = bench.network(WIDE)
  const network = { ...plain, name: `${plain.name}-${count}` }
  makeLeases(network.name, count)
  return addContender(
    bench,
    network,
    'no lease',
    count === 0 ? 'no lease' : `${count.toLocaleString('en')} leases`,
  )
}

/** Leases in the layout that ours and host-local share, with the file that says which one was made last. */
function makeLeases(network: string, count: number): void {
  const directory = `/var/lib/cni/networks/${network}`
  mkdirSync(directory, { recursive: true })
  for (let i = 0; i < count; i++)
    writeFileSync(`${directory}/${addressAt(i)}`, `${nextContainerId()}\r\neth0`)
  if (count > 0) writeFileSync(`${directory}/last_reserved_ip.0`, addressAt(count - 1))
}

/** The addresses of the subnet from the one after the gateway on. */
function addressAt(index: number): string {
  return `10.32.${(index + 2) >> 8}.${(index + 2) & 0xff}`
}

/** ADD on a node that has many pods and a map with many elements, beside one that has none. */
export function crowdExperiment(subjects: readonly Subject[], rounds: number): Experiment {
  const l3 = subjects.filter(({ name }) => name === 'l3')
  return {
    title: 'pods present',
    unit: 'ms',
    rounds,
    warmUps: 2,
    secondsPerRound: 0.12,
    prepare: () => {
      const { benches, remove } = createBenches([...l3, ...l3])
      const contenders = benches.map((bench, i) => {
        const network = bench.network(MASQUERADED)
        if (i > 0) makeCrowd(bench, network)
        return addContender(bench, network, NONE, i === 0 ? NONE : CROWD)
      })
      return { contenders, remove }
    },
  }
}

const NONE = 'no other pod'
const CROWD = `${PODS} pods, ${ELEMENTS.toLocaleString('en')} elements`

/** Real pods, and besides their own elements in our map others that make up the number. */
function makeCrowd({ pods, node }: Bench, network: Network): void {
  for (const pod of pods(PODS)) addPod(network, pod)
  const others = Array.from({ length: ELEMENTS - PODS }, (_, i) => `10.200.${i >> 8}.${i & 0xff} : return`)
  const input = `add element inet bowline masquerade4 { ${others.join(', ')} }\n`
  const env = { PATH: process.env['PATH'] ?? '' }
  const { exitCode, stderr } = node.enter(() =>
    runProgram({ path: nft(), args: ['-f', '-'], env, input }, ATTEMPT_MS),
  )
  if (exitCode !== 0) throw new Error(`nft could not add elements to our map: ${stderr}`)
}

function nft(): string {
  return Bun.which('nft') ?? '/usr/sbin/nft'
}

/** ADD of one pod that is detached again after each measurement. Compared with the same subject in state `base`. */
function addContender({ subject, pods }: Bench, network: Network, base: string, state: string): Contender {
  const [pod] = pods(1)
  return {
    name: `${subject.name}, ${state}`,
    ...(state !== base && { base: `${subject.name}, ${base}` }),
    measure: () => {
      const { sample, added } = quietAdd(network, pod as Netns)
      deletePod(network, added)
      return { ADD: sample }
    },
  }
}
