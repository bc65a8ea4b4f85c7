import { mkdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { quote } from '../../src/core/shell.ts'
import { within } from '../../src/kernel/linux/namespace.ts'
import { environmentOf, inputOf, runPlugin } from '../../test/support/node/plugin.ts'
import { run } from '../../test/support/node/private_namespaces.ts'
import type { Netns } from '../../test/support/node/sandbox.ts'
import { measureTransfer } from '../../test/support/node/transfer.ts'
import { HOST_PORTS } from './host_ports.ts'
import type { Measurement } from './measurement.ts'
import {
  type Bench,
  type Container,
  call,
  containerIn,
  DELETE_LINK,
  leaseDirOf,
  type Network,
  outputOf,
  type Place,
  programsOf,
  REFERENCE,
  requestOf,
  timed,
} from './nodes.ts'
import { QPERF } from './qperf.ts'
import type { Metric, Values } from './results.ts'

/**
 * The number of pods on a node while calls are measured. A pod is detached when this many others have been attached after
 * it, a second or two later: by then its addresses are no longer tentative, as for nearly every pod in real life.
 */
const LIVING = 8
const PLAIN: Network = { subnets: ['10.10.0.0/24'] }
const MASQUERADED: Network = { ...PLAIN, ipMasq: true }
const DUAL: Network = { subnets: ['10.10.0.0/24', 'fd00:10:10::/64'], ipMasq: true }

/** What containerd sends, as it has to send a burst: bits. */
const NO_BURST = 2 ** 32 - 1
const LIMITED = limited(100e6)

const ms = (ratio: NonNullable<Metric['ratio']>): Metric => ({ unit: 'ms', ratio })
const CALLS = { rounds: [50, 4], warmUps: LIVING } as const
/** ADD on a /16, and how much longer it takes than on an empty /24. */
const GROWTH = { metrics: { ADD: { unit: 'ms' }, growth: { unit: '×', max: 1.05 } }, warmUps: 2 } as const
const TRAFFIC = {
  metrics: { 'round trips': { unit: 'per second' }, 'one stream': { unit: 'Gbit/s' } },
  rounds: [8, 1],
  warmUps: 0,
} as const
const MEMORY = {
  'private dirty': { unit: 'MB', max: 0.6 },
  'size of the programs': { unit: 'MB', max: 2.6 },
} as const

/** How far a transfer of some seconds is from the rate that was asked for: payload, both directions, ours with the burst of containerd. */
const ACCURACY = Object.fromEntries(
  ['1 Mbit/s', '1 Gbit/s'].flatMap((rate) =>
    ['received', 'sent'].flatMap((what) =>
      ['TCP', 'UDP'].map((protocol) => [`${what}, ${protocol}, ${rate}`, { unit: '×', max: 0.1 }] as const),
    ),
  ),
)

/** Everything that is measured, in this order. */
export const MEASUREMENTS: readonly Measurement[] = [
  { title: 'the start', metrics: { VERSION: ms(0.35) }, rounds: [50, 4], warmUps: 2, prepare: version },
  { title: 'plain', metrics: { ADD: ms([0.36, 0.4]), DEL: ms(0.75) }, ...CALLS, prepare: calls(PLAIN) },
  {
    title: 'plain, of the link alone',
    metrics: { DEL: { unit: 'ms' } },
    rounds: [50, 4],
    warmUps: LIVING,
    prepare: linkAlone,
  },
  { title: 'ipMasq', metrics: { ADD: ms(0.2), DEL: ms(0.45) }, ...CALLS, prepare: calls(MASQUERADED) },
  { title: 'dual stack + ipMasq', metrics: { ADD: ms(0.15), DEL: ms(0.32) }, ...CALLS, prepare: calls(DUAL) },
  {
    title: 'limited in bandwidth',
    metrics: { ADD: ms(0.25), DEL: { unit: 'ms' } },
    ...CALLS,
    prepare: calls(LIMITED),
  },
  {
    title: '100 pods, 8 at a time, ipMasq',
    metrics: { ADD: ms(0.18), DEL: ms(0.2) },
    rounds: [5, 1],
    warmUps: 0,
    prepare: burst,
  },
  { title: 'a /16 with 3,000 leases', ...GROWTH, rounds: [40, 2], prepare: leases(3000) },
  { title: 'a /16 with 60,000 leases', ...GROWTH, rounds: [20, 0], prepare: leases(60_000) },
  { title: 'the first of a /16', ...GROWTH, rounds: [40, 5], prepare: firstPods },
  {
    title: 'ADD, dual stack',
    metrics: MEMORY,
    rounds: [5, 2],
    warmUps: 1,
    prepare: footprint,
  },
  {
    title: 'distance from a bandwidth limit',
    metrics: ACCURACY,
    rounds: [2, 1],
    warmUps: 0,
    prepare: accuracy,
  },
  {
    title: 'with its source checked, to one without',
    metrics: { 'a round trip': { unit: '×', max: 1.02 } },
    rounds: [15, 3],
    warmUps: 1,
    prepare: checkedSources,
  },
  ...HOST_PORTS,
  { title: 'pods of one node', ...TRAFFIC, prepare: traffic(0) },
  { title: 'pods of two hosts', ...TRAFFIC, prepare: traffic(1) },
]

/** Returns a network whose pods are limited in both directions: bits a second, and bits. */
function limited(rate: number, burst = NO_BURST): Network {
  return {
    ...PLAIN,
    runtimeConfig: {
      bandwidth: { ingressRate: rate, ingressBurst: burst, egressRate: rate, egressBurst: burst },
    },
    chained: [{ type: 'bandwidth', capabilities: { bandwidth: true } }],
  }
}

/**
 * Measures transfers between the node and a pod. The reference gets the burst that ours takes: with that of containerd its queue is
 * half a gigabyte long, and at 1 Mbit/s a second transfer waits an hour behind the first.
 */
function accuracy({ subject, nodes, place, pods }: Bench): () => Promise<Values> {
  const node = { name: nodes[0], path: `/run/netns/${nodes[0]}` }
  const limits = [
    { label: '1 Mbit/s', rate: 1e6, ms: 5000 },
    { label: '1 Gbit/s', rate: 1e9, ms: 2000 },
  ].map((one) => {
    const { container } = call(
      place(limited(one.rate, subject.name === REFERENCE ? Math.max(one.rate / 100, 121_120) : NO_BURST)),
      'ADD',
      containerIn(pods(1)[0] as Netns),
    )
    const { address = '', gateway = '' } = container.prevResult?.ips?.[0] ?? {}
    return { ...one, pod: container.pod, address: address.replace(/\/.*/, ''), gateway }
  })
  return async () => {
    const values: Record<string, number> = {}
    for (const { label, rate, ms: duration, pod, address, gateway } of limits) {
      for (const protocol of ['TCP', 'UDP'] as const) {
        const how = { protocol: protocol.toLowerCase() as 'tcp' | 'udp', ms: duration, offered: 1.5 * rate }
        const received = await measureTransfer({ ...how, from: node, to: pod, address })
        const sent = await measureTransfer({ ...how, from: pod, to: node, address: gateway })
        values[`received, ${protocol}, ${label}`] = Math.abs(1 - received / rate)
        values[`sent, ${protocol}, ${label}`] = Math.abs(1 - sent / rate)
      }
    }
    return values
  }
}

/** Measures round trips of two pods of the same node, one with the check. Of the reference, which has none, both are alike. */
function checkedSources({ place, pods }: Bench): () => Values {
  const [checked, unchecked] = [true, false].map((ipspoofchk) => {
    const on = place({ subnets: ['10.20.0.0/24'], ours: { ipspoofchk } })
    const [server, client] = pods(2).map((pod) => call(on, 'ADD', containerIn(pod)).container) as [
      Container,
      Container,
    ]
    run(`ip netns exec ${server.pod.name} ${QPERF} >/dev/null 2>&1 &`)
    const address = server.prevResult?.ips?.[0]?.address.replace(/\/.*/, '')
    const command = `ip netns exec ${client.pod.name} ${QPERF} -uu -t 1 --wait_server 9 ${address} tcp_lat`
    return () => Number(/= +([\d.e+]+)/.exec(run(command))?.[1])
  }) as [() => number, () => number]
  let round = 0
  return () => {
    // Whichever is measured first may meet a colder machine.
    const isFirst = round++ % 2 === 0
    const before = isFirst ? checked() : unchecked()
    const after = isFirst ? unchecked() : checked()
    return { 'a round trip': isFirst ? before / after : after / before }
  }
}

/** Measures VERSION, which is only the start of the process. */
function version({ place }: Bench): () => Values {
  const on = place(PLAIN)
  return () => ({ VERSION: call(on, 'VERSION', containerIn({ name: '', path: '' })).ms })
}

/** Measures, beside DEL of the reference, a program that only deletes the link: below that no plugin can come. */
function linkAlone(bench: Bench): () => Values {
  if (bench.subject.name === REFERENCE) return calls(PLAIN)(bench)
  return calls(PLAIN, (on, container) => {
    const link = container.prevResult?.interfaces?.find(({ name, sandbox }) => !sandbox && name !== 'cni0')
    const { ms, exitCode } = timed(on, [DELETE_LINK, link?.name ?? ''])
    if (exitCode !== 0) throw new Error(`the link of a pod was not deleted: exit code ${exitCode}`)
    call(on, 'DEL', container)
    return ms
  })(bench)
}

/** Measures ADD of one pod and, once the node has its pods, DEL of the oldest. */
function calls(
  network: Network,
  remove = (on: Place, container: Container) => call(on, 'DEL', container).ms,
): (bench: Bench) => () => Values {
  return ({ place, pods }) => {
    const [on, idle, living]: [Place, Netns[], Container[]] = [place(network), pods(LIVING + 1), []]
    return () => {
      const { ms: ADD, container } = call(on, 'ADD', containerIn(idle.shift() as Netns))
      living.push(container)
      const oldest = living.length > LIVING ? living.shift() : undefined
      if (!oldest) return { ADD }
      idle.push(oldest.pod)
      return { ADD, DEL: remove(on, oldest) }
    }
  }
}

/** Measures many pods at once, as when a node starts or is drained: from the first start to the last end. */
function burst({ place, pods }: Bench): () => Promise<Values> {
  const [on, idle] = [place(MASQUERADED), pods(100)]
  const all = async (command: 'ADD' | 'DEL', containers: Container[]) => {
    const [waiting, done, started] = [containers.values(), [] as Container[], Bun.nanoseconds()]
    const worker = async () => {
      for (const container of waiting) {
        const request = requestOf(on.plugins[0], command, container)
        const { exitCode, stdout, stderr } = await within(on.node, () => runPlugin(request))
        done.push({ ...container, prevResult: outputOf(request, exitCode, stdout, stderr) })
      }
    }
    // As many at a time as a runtime starts on a busy node.
    await Promise.all(Array.from({ length: 8 }, worker))
    return { ms: (Bun.nanoseconds() - started) / 1e6, done }
  }
  return async () => {
    const added = await all('ADD', idle.map(containerIn))
    // Until the addresses of the last pods are no longer tentative.
    await Bun.sleep(1500)
    return { ADD: added.ms, DEL: (await all('DEL', added.done)).ms }
  }
}

/** Measures ADD on a store with leases in host-local's layout, which is ours too, beside one on an empty store. */
function leases(count: number): Measurement['prepare'] {
  return (bench) => {
    const places = growing(bench, '')
    const addressAt = (index: number) => `10.32.${(index + 2) >> 8}.${(index + 2) & 0xff}`
    const directory = leaseDirOf(places[0])
    mkdirSync(directory, { recursive: true })
    for (let i = 0; i < count; i++) writeFileSync(join(directory, addressAt(i)), `${'d'.repeat(64)}\r\neth0`)
    writeFileSync(join(directory, 'last_reserved_ip.0'), addressAt(count - 1))
    return growth(bench, () => places)
  }
}

/** Measures the first ADD of a network. */
function firstPods(bench: Bench): () => Values {
  let count = 0
  return growth(bench, () => growing(bench, `-${++count}`))
}

/** Returns a network with a /16 on the first node, and one with a /24 on the second. */
function growing({ place, nodes }: Bench, suffix: string): [Place, Place] {
  const on = (node: 0 | 1, subnet: string) =>
    place({ subnets: [subnet] }, { node, name: nodes[node] + suffix })
  return [on(0, '10.32.0.0/16'), on(1, '10.32.0.0/24')]
}

/** Measures ADD of one pod on two networks, a large and a small one. */
function growth({ pods }: Bench, places: () => [Place, Place]): () => Values {
  const [pod] = pods(1) as [Netns]
  return () => {
    const [large, small] = places()
    // Whichever program was called last is in the processor's caches.
    call(large, 'VERSION', containerIn(pod))
    const [ADD = 0, base = 0] = [large, small].map((on) => {
      const added = call(on, 'ADD', containerIn(pod))
      call(on, 'DEL', added.container)
      return added.ms
    })
    return { ADD, growth: ADD / base }
  }
}

/** Measures the size of the files, and the memory of the ADD with most work. */
function footprint({ subject, place, pods }: Bench): () => Values {
  const [[pod], on, programs] = [pods(1) as [Netns], place(DUAL), programsOf(subject)]
  // Dirty pages of a file would count as memory of the processes that map it.
  run(`sync ${programs.map(quote).join(' ')}`)
  return () => {
    const container = containerIn(pod)
    const request = requestOf(on.plugins[0], 'ADD', container)
    const [env, stdin] = [environmentOf(request), inputOf(request)]
    const { exitCode, stdout, stderr } = within(on.node, () =>
      Bun.spawnSync(['sh', '-eu', '-c', HELD, 'sh', request.program], {
        env,
        stdin,
        stderr: 'pipe',
        timeout: 60_000,
      }),
    )
    const [, kibibytes, answer = ''] = /^(\d*)\n?(.*)/s.exec(`${stdout}`) ?? []
    call(on, 'DEL', { ...container, prevResult: outputOf(request, exitCode, answer, `${stderr}`) })
    const size = programs.reduce((sum, path) => sum + statSync(path).size, 0)
    return { 'private dirty': (Number(kibibytes) * 1024) / 1e6, 'size of the programs': size / 1e6 }
  }
}

/**
 * Runs a program with a full pipe as standard output, so that it blocks in its last step, the write of its answer. Prints
 * its private dirty memory then, in units of 1,024 bytes: the cost of one more such process. Nothing is traced. Its answer
 * follows on the next line.
 */
const HELD = `
pipe=/run/bench-pipe; status=0; rm -f $pipe; mkfifo $pipe; exec 3<>$pipe 4<&0
head -c 65536 /dev/zero >&3
"$@" <&4 >&3 & pid=$!
until cat /proc/$pid/task/*/syscall | grep -qE '^(1|64) 0x1 '; do sleep 0.01; done
awk '/^Private_Dirty/ { print $2 }' /proc/$pid/smaps_rollup
head -c 65536 <&3 >/dev/null
wait $pid || status=$?
printf '\n--- end ---\n' >&3
sed '/^--- end ---$/Q' <&3
exit $status`

/** Measures TCP between a pod on the first node and one on the given node, by qperf. */
function traffic(far: 0 | 1): Measurement['prepare'] {
  return ({ nodes, place, pods }) => {
    // Each node has a subnet, and a route to that of the other.
    const subnets = ['10.20.1.0/24', '10.20.2.0/24'] as const
    for (const [i, node] of nodes.entries())
      if (far === 1) run(`ip -n ${node} route add ${subnets[1 - i]} via 192.0.2.${2 - i}`)
    const [near, server] = ([0, far] as const).map((node) => {
      const on = place({ subnets: [subnets[node]], ipMasq: true }, { node })
      return call(on, 'ADD', containerIn(pods(1)[0] as Netns)).container
    }) as [Container, Container]
    const address = server.prevResult?.ips?.[0]?.address.replace(/\/.*/, '')
    run(`ip netns exec ${server.pod.name} ${QPERF} >/dev/null 2>&1 &`)
    const command = `ip netns exec ${near.pod.name} ${QPERF} -uu -t 1 --wait_server 9 ${address} tcp_lat tcp_bw`
    return () => {
      const [nanoseconds = 0, bytes = 0] = [...run(command).matchAll(/= +([\d.e+]+)/g)].map(([, value]) =>
        Number(value),
      )
      return { 'round trips': 1e9 / (2 * nanoseconds), 'one stream': bytes * 8e-9 }
    }
  }
}
