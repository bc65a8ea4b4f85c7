import type { PluginOutput } from '../node/plugin.ts'
import type { Vm } from './machine.ts'
import { LOAD_NFTABLES } from './node.ts'

/*
 * A busy node in the machine: pods that come and go by many hands at once. The work is done by the functions of
 * test/support/vm/guest/node.sh.
 */

/** A network of the node, and how many pods it has addresses for. */
export type VmNetwork = { readonly name: string; readonly config: object; readonly capacity: number }

export type VmPod = { readonly network: string; readonly containerId: string }

/** The pods of one hand. */
const HOLD = 4
/** The newest pods of each hand that may be on the disk although nobody has been told of them. */
const UNTOLD = 2
const TIMEOUT_MS = 300_000

/** For `useVms`: where the functions are in the machine, and here. */
export const NODE_SCRIPT = { 'opt/test/node.sh': `${import.meta.dirname}/guest/node.sh` }
const USE = '. /opt/test/node.sh'

/** Puts the configurations where the functions look for them, and loads what they need. Once a boot. */
export async function configureNetworks(vm: Vm, networks: readonly VmNetwork[]): Promise<void> {
  await vm.sh(LOAD_NFTABLES)
  for (const { name, config } of networks)
    await vm.sh(`cat >/run/${name}.json <<'END'\n${JSON.stringify(config)}\nEND`)
}

/**
 * Has pods made and removed, and returns as soon as the call that makes the `pods`th pod has ended: those that may be on
 * the disk. The churn goes on. With `sync`, what was written by then is on the disk whole. Throws when a call of the
 * plugin fails.
 */
export async function churn(
  vm: Vm,
  networks: readonly VmNetwork[],
  round: string,
  { pods, sync = false }: { pods: number; sync?: boolean },
): Promise<VmPod[]> {
  // Two at one network, so that they meet at its lock.
  const hands = [...networks, ...networks.slice(0, 1)].map(({ name }, i) => ({
    name,
    prefix: `${round}-${i}`,
  }))
  const starts = hands.map(({ name, prefix }) => `churn ${name} ${prefix} ${HOLD} &`)
  const script = [
    USE,
    'rm -f /run/reached; mkfifo /run/reached; : >/run/churn.log',
    `{ ${starts.join(' ')} wait; } 2>&1 </dev/null | watch ${pods} >/run/watch.log 2>&1 &`,
    'read -r how </run/reached; [ "$how" = reached ] || echo "the churn is $how"',
    sync ? 'sync' : '',
    'cat /run/churn.log',
  ]
  const log = (await vm.sh(script.join('\n'), { timeoutMs: TIMEOUT_MS })).split('\n').filter(Boolean)
  const strange = log.find((line) => !/^[+-] \S+ \S+$/.test(line))
  if (strange) throw new Error(strange)
  return podsOnDisk(log, hands)
}

/** All that are alive, those whose removal has just begun, and the ones that come next. */
function podsOnDisk(log: readonly string[], hands: readonly { name: string; prefix: string }[]): VmPod[] {
  const removed = log.filter((line) => line.startsWith('-')).map((line) => line.slice(2))
  const settled = new Set(removed.slice(0, -hands.length))
  const told = log.filter((line) => line.startsWith('+')).map((line) => line.slice(2))
  const untold = hands.flatMap(({ name, prefix }) => {
    const made = told.filter((pod) => pod.startsWith(`${name} ${prefix}-`)).length
    return Array.from({ length: UNTOLD }, (_, i) => `${name} ${prefix}-${made + 1 + i}`)
  })
  return [...told.filter((pod) => !settled.has(pod)), ...untold].map((pod) => {
    const [network = '', containerId = ''] = pod.split(' ')
    return { network, containerId }
  })
}

/** A network with every address in use. */
export type FilledNetwork = {
  readonly network: VmNetwork
  readonly pods: readonly (VmPod & { readonly result: PluginOutput })[]
  /** What the ADD after the last has said. */
  readonly refusal: PluginOutput
}

/** Makes pods on every network until it refuses one, or has given one more than it has addresses for. */
export async function fill(vm: Vm, networks: readonly VmNetwork[], prefix: string): Promise<FilledNetwork[]> {
  const starts = networks.map(
    ({ name, capacity }) => `fill ${name} ${prefix}-${name} ${capacity + 1} >/run/${name}.filled &`,
  )
  await vm.sh([USE, ...starts, 'wait'].join('\n'), { timeoutMs: TIMEOUT_MS })
  const outputs = await Promise.all(networks.map(({ name }) => vm.sh(`cat /run/${name}.filled`)))
  return networks.map((network, i) => {
    const printed: PluginOutput[] = (outputs[i] ?? '')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    const pods = printed.slice(0, -1).map((result, number) => ({
      network: network.name,
      containerId: `${prefix}-${network.name}-${number + 1}`,
      result,
    }))
    return { network, pods, refusal: printed.at(-1) ?? {} }
  })
}

/** DEL with an empty CNI_NETNS for each pod, `times` times, by two hands. Returns what failed. */
export async function forget(vm: Vm, pods: readonly (VmPod & { times: number })[]): Promise<string[]> {
  const calls = pods.map(({ network, containerId, times }) => `forget ${network} ${times} ${containerId}`)
  const hands = [0, 1].map((hand) => `{\n${calls.filter((_, i) => i % 2 === hand).join('\n')}\n:; } &`)
  const failures = await vm.sh([USE, ...hands, 'wait'].join('\n'), { timeoutMs: TIMEOUT_MS })
  return failures.split('\n').filter(Boolean)
}
