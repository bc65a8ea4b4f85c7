import { run } from '../../test/support/node/private_namespaces.ts'
import type { Netns } from '../../test/support/node/sandbox.ts'
import type { Measurement } from './measurement.ts'
import { type Bench, call, containerIn, type Network } from './nodes.ts'
import { QPERF } from './qperf.ts'
import type { Values } from './results.ts'

/* Host ports: the calls beside the reference bridge with portmap behind it, and round trips through a port beside none. */
type Backend = 'iptables' | 'nftables'

const SUBNET = '10.30.0.0/24'

/** A network whose pods have these ports of the node: `count` of them from `first` on. */
function network(backend: Backend, first: number, count: number): Network {
  const portMappings = Array.from({ length: count }, (_, i) => ({
    hostPort: first + i,
    containerPort: first + i,
    protocol: 'tcp',
  }))
  const portmap = { type: 'portmap', backend, snat: true, capabilities: { portMappings: true } }
  return { subnets: [SUBNET], runtimeConfig: { portMappings }, chained: [portmap] }
}

/** Measures ADD and DEL of a pod with ten ports, beside another pod that has one. */
function tenPorts(backend: Backend): Measurement['prepare'] {
  return ({ place, pods }) => {
    const [resident, pod] = pods(2) as [Netns, Netns]
    call(place(network(backend, 9000, 1)), 'ADD', containerIn(resident))
    const on = place(network(backend, 8000, 10))
    return () => {
      const { ms: ADD, container } = call(on, 'ADD', containerIn(pod))
      return { ADD, DEL: call(on, 'DEL', container).ms }
    }
  }
}

/** The ports of qperf: where it is asked, and where it measures. */
const [LISTEN, DATA] = [19765, 19766]

/** Measures round trips from another node to a pod, by a port of its node and by the pod's own address in turns. */
function roundTrips(count: number): Measurement['prepare'] {
  return (bench: Bench) => {
    const { nodes, place, pods } = bench
    const [server, others] = pods(2) as [Netns, Netns]
    run(`ip -n ${nodes[1]} route add ${SUBNET} via 192.0.2.1`)
    const { container } = call(place(network('nftables', LISTEN, 2)), 'ADD', containerIn(server))
    if (count > 1) call(place(network('nftables', 20_000, count)), 'ADD', containerIn(others))
    const address = container.prevResult?.ips?.[0]?.address.replace(/\/.*/, '') ?? ''
    run(`ip netns exec ${server.name} ${QPERF} -lp ${LISTEN} >/dev/null 2>&1 &`)
    const latency = (target: string): number => {
      const measured = `${QPERF} -lp ${LISTEN} -ip ${DATA} -uu -t 1 --wait_server 9 ${target} tcp_lat`
      return Number(/= +([\d.e+]+)/.exec(run(`ip netns exec ${nodes[1]} ${measured}`))?.[1])
    }
    return (): Values => {
      const [direct, mapped] = [latency(address), latency('192.0.2.1')]
      return { 'round trips': 1e9 / (2 * mapped), 'time to that without a port': mapped / direct }
    }
  }
}

const CALLS = { rounds: [30, 4], warmUps: 2 } as const
const TRIPS = {
  metrics: { 'round trips': { unit: 'per second' }, 'time to that without a port': { unit: '×', max: 1.03 } },
  rounds: [8, 1],
  warmUps: 0,
} as const

export const HOST_PORTS: readonly Measurement[] = [
  {
    title: '10 host ports, portmap by iptables',
    metrics: { ADD: { unit: 'ms', ratio: 0.12 }, DEL: { unit: 'ms', ratio: 0.12 } },
    ...CALLS,
    prepare: tenPorts('iptables'),
  },
  {
    title: '10 host ports, portmap by nftables',
    metrics: { ADD: { unit: 'ms', ratio: 0.2 }, DEL: { unit: 'ms', ratio: 0.2 } },
    ...CALLS,
    prepare: tenPorts('nftables'),
  },
  { title: 'a host port', ...TRIPS, prepare: roundTrips(1) },
  { title: 'a host port among 1,000', ...TRIPS, prepare: roundTrips(998) },
]
