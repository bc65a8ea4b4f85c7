import { readFileSync } from 'node:fs'
import { parseAddress, parseCidr } from '../../../src/core/address.ts'
import { quote } from '../../../src/core/shell.ts'
import { createLinuxKernel } from '../../../src/kernel/linux/kernel.ts'
import { readOverlayConfig } from '../../../src/overlay/config.ts'
import { planOverlay } from '../../../src/overlay/plan.ts'
import { compareOverlay, readUnderlay } from '../../../src/overlay/reconcile.ts'
import { run } from '../../../test/support/node/private_namespaces.ts'
import type { Netns } from '../../../test/support/node/sandbox.ts'
import {
  type Bench,
  type Container,
  call,
  containerIn,
  createBench,
  type Subject,
  subjectsOf,
} from '../nodes.ts'
import { type Finding, findingsOf, measureRounds, type Values } from '../results.ts'

/*
 * Packets between pods of two nodes (namespaces on one processor): ours beside what an administrator would make by hand with the same pods,
 * a VXLAN link or plain routes, and three nftables rules that masquerade.
 */

const SUBNETS = ['10.20.1.0/24', '10.20.2.0/24'] as const
const METRICS = {
  'one stream': { unit: 'Gbit/s' },
  'round trips': { unit: 'per second' },
  'UDP of 64 bytes': { unit: 'per second' },
} as const
const PROCESSOR = /^Cpus_allowed_list:.*?(\d+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'
const QPERF = `taskset -c ${PROCESSOR} qperf`

/** How packets travel, and the MTU that this leaves to pods. */
const WAYS = [
  { backend: 'vxlan', mtu: 1450 },
  { backend: 'host-gw', mtu: 1500 },
] as const
type Way = (typeof WAYS)[number]

/** Measures each way in turns with what is made by hand, and once more with pods on a bridge. */
export async function measureDataPath(
  rounds: number,
  tell: (findings: readonly Finding[]) => void,
): Promise<void> {
  const [, routed, bridged] = subjectsOf([]) as [Subject, Subject, Subject]
  for (const way of WAYS) {
    const contenders = [
      { name: 'by hand', subject: routed, prepare: byHand },
      { name: 'Bowline', subject: routed, prepare: byOverlay },
      { name: 'bridged', subject: bridged, prepare: byOverlay },
    ].map(({ name, subject, prepare }) => {
      const bench = createBench(subject)
      return { name, bench, measure: prepare(bench, way) }
    })
    try {
      const measured = await measureRounds(contenders, rounds, 1)
      tell(findingsOf(way.backend, METRICS, measured))
    } finally {
      for (const { bench } of contenders) bench.remove()
      await Bun.sleep(500)
    }
  }
}

function byOverlay(bench: Bench, way: Way): () => Values {
  const measure = trafficBetween(bench, way, true)
  const cluster = SUBNETS.map((range, i) => ({
    name: `n${i}`,
    addresses: [parseAddress(`192.0.2.${i + 1}`)],
    podCidrs: [parseCidr(range)],
  }))
  for (const [i, name] of bench.nodes.entries()) {
    const kernel = createLinuxKernel()
    const netns = kernel.openNetns(`/run/netns/${name}`)
    const own = cluster[i]
    if (!own) throw new Error('no such node')
    const config = readOverlayConfig(JSON.stringify({ backend: way.backend }))
    const place = { netns, words: `on ${name}`, prefix: '' }
    const node = { ...own, place, config, underlay: readUnderlay(netns) }
    // By the commands, since nftables is always that of the process's own namespace.
    const { growth, found } = compareOverlay(kernel, planOverlay(cluster, node), 'whole')
    const commands = [...growth, ...found].flatMap(({ steps }) => steps.map(({ command }) => command))
    run(`ip netns exec ${name} sh -ec ${quote(commands.join('\n'))}`)
    netns.close()
  }
  return measure
}

function byHand(bench: Bench, way: Way): () => Values {
  const measure = trafficBetween(bench, way, false)
  for (const [i, node] of bench.nodes.entries()) {
    const [own, other, peer] = [SUBNETS[i], SUBNETS[1 - i], `192.0.2.${2 - i}`]
    run(
      way.backend === 'host-gw'
        ? `ip -n ${node} route add ${other} via ${peer}`
        : `ip -n ${node} link add hand type vxlan id 42 dstport 4789 local 192.0.2.${i + 1} nolearning
          ip -n ${node} link set hand address 02:00:00:00:42:0${i + 1} mtu 1450 up
          bridge -n ${node} fdb append 02:00:00:00:42:0${2 - i} dev hand dst ${peer}
          ip -n ${node} neigh add 10.20.${2 - i}.0 lladdr 02:00:00:00:42:0${2 - i} nud permanent dev hand
          ip -n ${node} route add ${other} via 10.20.${2 - i}.0 dev hand onlink`,
    )
    run(`ip netns exec ${node} nft -f - <<'NFT'
      table ip hand { chain out { type nat hook postrouting priority srcnat
        ip saddr != ${own} return
        ip daddr { 10.20.0.0/16, 224.0.0.0/4 } return
        masquerade fully-random;
      }; }
NFT`)
  }
  return measure
}

/** Attaches a pod to each node, and measures between them. */
function trafficBetween({ place, pods }: Bench, { mtu }: Way, ipMasq: boolean): () => Values {
  const [near, far] = ([0, 1] as const).map((node) => {
    const on = place({ subnets: [SUBNETS[node]], ipMasq }, { node })
    const { container } = call(on, 'ADD', containerIn(pods(1)[0] as Netns))
    run(`ip -n ${container.pod.name} link set eth0 mtu ${mtu}`)
    return container
  }) as [Container, Container]
  const address = far.prevResult?.ips?.[0]?.address.replace(/\/.*/, '')
  run(`ip netns exec ${far.pod.name} ${QPERF} >/dev/null 2>&1 &`)
  const ask = (words: string): number => {
    const command = `ip netns exec ${near.pod.name} ${QPERF} -uu -t 1 --wait_server 9 ${address} ${words}`
    return Number([...run(command).matchAll(/= +([\d.e+]+)/g)].at(-1)?.[1])
  }
  return () => ({
    'one stream': ask('tcp_bw') * 8e-9,
    'round trips': 1e9 / (2 * ask('tcp_lat')),
    'UDP of 64 bytes': ask('-m 64 udp_bw') / 64,
  })
}
