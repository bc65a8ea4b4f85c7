import { describe, expect, it } from 'vitest'
import { ask, type Question, startServers, TRANSPORTS, type Transport } from '../../support/node/exchange.ts'
import {
  callWith,
  GATEWAY,
  MODES,
  NEIGHBOUR,
  NODE,
  OTHER_OWN,
  OUTSIDE,
  POD,
  POD_B,
  useHostPortsNode,
} from '../../support/node/host_ports_node.ts'
import { expectSuccess, leftOver } from '../../support/node/pods.ts'
import { run } from '../../support/node/private_namespaces.ts'
import { type Netns, NOTHING } from '../../support/node/sandbox.ts'

/*
 * Who reaches a host port, and whose address the pod sees: every client, family and transport. The pod has port 8080 on any address of the
 * node, 8081 on any of IPv4, 8082 on any of IPv6, and 8083 and 8084 on single addresses.
 */
const FAMILIES = [4, 6] as const
type Family = (typeof FAMILIES)[number]
type Mode = keyof typeof MODES

const MAPPINGS = TRANSPORTS.flatMap((protocol) => [
  // As containerd sends them.
  { HostPort: 8080, ContainerPort: 80, Protocol: protocol, HostIP: '' },
  { HostPort: 8081, ContainerPort: 80, Protocol: protocol.toUpperCase(), HostIP: '0.0.0.0' },
  { hostPort: 8082, containerPort: 80, protocol, hostIP: '::' },
  { hostPort: 8083, containerPort: 80, protocol, hostIP: NODE[4] },
  { hostPort: 8083, containerPort: 80, protocol, hostIP: NODE[6] },
  { hostPort: 8084, containerPort: 80, protocol, hostIP: '127.0.0.53' },
  { hostPort: 8084, containerPort: 80, protocol, hostIP: '::1' },
])

/** A question, and the client that the pod sees; nothing where the port is not for this address. */
type Row = { readonly from?: string; readonly address: string; readonly port: number; readonly sees?: string }

const node = useHostPortsNode()

/** Whether a port on any address leads to the pod, and one on the address of the node, as far as it is asked for that. */
function rows(family: Family, address: string, sees: string): Row[] {
  const isNode = address === NODE[family]
  const [own, other] = family === 4 ? [8081, 8082] : [8082, 8081]
  return [
    { address, port: 8080, sees },
    { address, port: own, sees },
    { address, port: other },
    { address, port: 8083, ...(isNode && { sees }) },
    { address, port: 8084 },
  ]
}

const CLIENTS: Record<
  string,
  { netns: () => Netns | undefined; rows: (family: Family, mode: Mode) => Row[] }
> = {
  'a host outside': {
    netns: () => node.outside.netns,
    rows: (family) => [
      ...rows(family, NODE[family], OUTSIDE[family]),
      ...rows(family, OTHER_OWN[family], OUTSIDE[family]),
    ],
  },
  'a pod of this node': {
    netns: () => NEIGHBOUR,
    // On a bridge the pod would answer the other one past the node.
    rows: (family, mode) =>
      [NODE[family], GATEWAY[family]].flatMap((address) =>
        rows(family, address, (mode === 'l3' ? POD_B : GATEWAY)[family]),
      ),
  },
  'the pod itself': {
    netns: () => POD,
    rows: (family) =>
      [NODE[family], GATEWAY[family]].flatMap((address) => rows(family, address, GATEWAY[family])),
  },
  'the node': {
    netns: () => undefined,
    rows: (family) => [
      ...[NODE[family], GATEWAY[family]].flatMap((address) => rows(family, address, address)),
      // The first address of its subnet is the source for all of IPv4.
      ...rows(family, OTHER_OWN[family], family === 4 ? NODE[4] : OTHER_OWN[6]),
      ...(family === 4 ? LOCALHOST_4 : LOCALHOST_6),
    ],
  },
}
const LOCALHOST_4: Row[] = [
  ...[8080, 8081].map((port) => ({ address: '127.0.0.1', port, sees: GATEWAY[4] })),
  { address: '127.0.0.1', port: 8083 },
  // As Kubernetes' own test of host ports asks.
  { address: '127.0.0.1', from: NODE[4], port: 8080, sees: NODE[4] },
  // Services of the node have other addresses of 127.0.0.0/8.
  { address: '127.0.0.53', port: 8080 },
  { address: '127.0.0.53', port: 8084, sees: GATEWAY[4] },
]
const LOCALHOST_6: Row[] = [
  { address: '::1', port: 8080 },
  { address: '::1', port: 8084 },
  { address: '::1', from: NODE[6], port: 8084, sees: NODE[6] },
]

describe.each(['l3', 'l2'] as const)('host ports in mode %s', (mode) => {
  it.each([
    ['', {}, 1],
    [', masqueraded', { ipMasq: true }, 1],
    [', where bridges do not ask the packet filter', {}, 0],
  ])('lead to the pod from everywhere%s', async (_, more, bridgeNf) => {
    run(`for i in iptables ip6tables; do echo ${bridgeNf} > /proc/sys/net/bridge/bridge-nf-call-$i; done`)
    const config = { ...MODES[mode], ...more }
    expectSuccess(await callWith(POD, 'ADD', config, MAPPINGS))
    expectSuccess(await callWith(NEIGHBOUR, 'ADD', config))
    node.programs.push(await startServers(POD, 80, 'pod'))
    for (const [who, { netns, rows: rowsOf }] of Object.entries(CLIENTS)) {
      const asked = TRANSPORTS.flatMap((transport) =>
        FAMILIES.flatMap((family) => rowsOf(family, mode).map((row) => ({ transport, row }))),
      )
      const answers = await ask(netns(), asked.map(questionOf))
      const show = (answer: (i: number) => string) =>
        asked.map(({ transport, row }, i) => `${who}: ${transport} ${row.address} ${row.port}: ${answer(i)}`)
      expect(show((i) => plain(asked[i]?.transport, answers[i]))).toEqual(
        show((i) => (asked[i]?.row.sees ? `pod ${asked[i].row.sees}` : NOBODY[asked[i]?.transport ?? 'tcp'])),
      )
    }
    for (const pod of [POD, NEIGHBOUR]) expectSuccess(await callWith(pod, 'DEL', config))
    expect(await leftOver()).toEqual(NOTHING)
    expect(run('cat /proc/sys/net/ipv4/conf/*/route_localnet')).not.toContain('1')
  })
})

/** Where nobody is: the kernel limits how often it says no by ICMP, and no program of the node is there to say no by SCTP. */
const NOBODY = { tcp: 'refused', udp: '', sctp: '' } as const

function plain(transport: Transport = 'tcp', answer = ''): string {
  return answer === 'refused' ? NOBODY[transport] : answer
}

function questionOf({ transport, row }: { transport: Transport; row: Row }): Question {
  const { address, port, from, sees } = row
  return { transport, address, port, ...(from && { from }), timeoutMs: sees ? 5000 : 700 }
}
