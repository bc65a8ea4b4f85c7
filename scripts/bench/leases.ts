import { mkdirSync, writeFileSync } from 'node:fs'
import type { Netns } from '../../test/support/node/sandbox.ts'
import { addPod, type Bench, call, experimentOn, leaseDirOf, type Network, unattached } from './nodes.ts'
import type { Contender, Experiment } from './rounds.ts'
import type { Subject } from './subjects.ts'

const SMALL = { masquerade: false, subnet4: '10.32.0.0/24' }
const LARGE = { masquerade: false, subnet4: '10.32.0.0/16' }

/** Measures ADD on a network with leases, and the first ADD of a network, each beside an empty /24. */
export function leaseExperiments(
  subjects: readonly Subject[],
  rounds: number,
  counts: readonly number[],
): Experiment[] {
  const ours = subjects.filter(({ name }) => name === 'l3')
  const experiment = (title: string, contendersOf: (bench: Bench) => Contender[]) =>
    experimentOn(ours, { title, unit: 'ms', rounds, warmUps: 2, contendersOf })
  return [
    experiment('with leases', (bench) => [
      contenderOf(bench, 'a /24', () => networkWith(bench, SMALL, 0)),
      ...counts.map((count) => {
        const network = networkWith(bench, LARGE, count)
        const name = `a /16 with ${count.toLocaleString('en')} leases`
        return { ...contenderOf(bench, name, () => network), base: 'a /24' }
      }),
    ]),
    experiment('the first of a network', (bench) => {
      let serial = 0
      const another = (shape: Network['shape']) => networkWith(bench, shape, 0, `-first${++serial}`)
      return [
        contenderOf(bench, 'a /24', () => another(SMALL)),
        { ...contenderOf(bench, 'a /16', () => another(LARGE)), base: 'a /24' },
      ]
    }),
  ]
}

/** Measures ADD of one pod, which is detached after each measurement. */
function contenderOf({ pods }: Bench, name: string, networkOf: () => Network): Contender {
  const [pod] = pods(1)
  return {
    name,
    measure: () => {
      const network = networkOf()
      const { ms, added } = addPod(network, pod as Netns)
      call(network, 'DEL', added)
      return { ADD: ms }
    },
  }
}

/** Creates leases in host-local's layout, which is ours too, with the file that names the last one. */
function networkWith(bench: Bench, shape: Network['shape'], count: number, suffix = `-${count}`): Network {
  const plain = bench.network(shape)
  const network = { ...plain, name: `${plain.name}${suffix}` }
  if (count === 0) return network
  const directory = leaseDirOf(network)
  mkdirSync(directory, { recursive: true })
  for (let i = 0; i < count; i++)
    writeFileSync(`${directory}/${addressAt(i)}`, `${unattached({ name: '', path: '' }).containerId}\r\neth0`)
  writeFileSync(`${directory}/last_reserved_ip.0`, addressAt(count - 1))
  return network
}

/** Returns the addresses of the subnet after the gateway. */
function addressAt(index: number): string {
  return `10.32.${(index + 2) >> 8}.${(index + 2) & 0xff}`
}
