import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { ask, type Question, startServers, TRANSPORTS } from '../../support/node/exchange.ts'
import type { PeerProgram } from '../../support/node/peer_program.ts'
import { callFor, expectSuccess } from '../../support/node/pods.ts'
import { run } from '../../support/node/private_namespaces.ts'
import {
  clearNode,
  createNetns,
  createOutside,
  enterSandbox,
  type Netns,
  NOTHING,
  type Outside,
  removeNetns,
  residue,
} from '../../support/node/sandbox.ts'

/*
 * Who reaches a host port, and whose address the pod sees: every client of every family and transport. The pod has port 8080 on any
 * address of the node, 8081 on any of IPv4, 8082 on any of IPv6, and 8083 on one address of each family.
 */
const NODE = { 4: '192.0.2.1', 6: '2001:db8::1' } as const
const OTHER_OWN = { 4: '192.0.2.3', 6: '2001:db8::3' } as const
const OUTSIDE = { 4: '192.0.2.2', 6: '2001:db8::2' } as const
const GATEWAY = { 4: '10.1.0.1', 6: 'fd00:1::1' } as const
const NEIGHBOUR = { 4: '10.1.0.3', 6: 'fd00:1::3' } as const
const FAMILIES = [4, 6] as const

type Family = (typeof FAMILIES)[number]

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

const BASE = {
  cniVersion: '1.1.0',
  name: 'ports',
  type: 'bowline',
  capabilities: { portMappings: true },
  ipam: {
    type: 'bowline-ipam',
    ranges: [[{ subnet: '10.1.0.0/24' }], [{ subnet: 'fd00:1::/64' }]],
    routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
  },
}
const MODES = {
  l3: { ...BASE, mode: 'l3' },
  l2: { ...BASE, bridge: 'br0', isGateway: true },
} as const

const [pod, neighbour] = ['pod-a', 'pod-b'].map((name): Netns => ({ name, path: `/run/netns/${name}` })) as [
  Netns,
  Netns,
]
let outside: Outside
let servers: PeerProgram[] = []

beforeAll(() => {
  enterSandbox()
  outside = createOutside()
  // A bridge asks for no neighbour before it is sure of its own link-local address.
  run(`sysctl -qw net.ipv6.conf.default.accept_dad=0
    ip address add ${OTHER_OWN[4]}/24 dev up0; ip -6 address add ${OTHER_OWN[6]}/64 dev up0 nodad
    ip -n outside address add 192.0.2.99/24 dev eth0`)
})

beforeEach(async () => {
  await clearNode()
  for (const { name } of [pod, neighbour]) createNetns(name)
})

afterEach(async () => {
  await Promise.all(servers.map((one) => one.stop()))
  servers = []
  for (const { name } of [pod, neighbour]) removeNetns(name)
})

type Row = readonly [
  who: string,
  client: () => Netns | undefined,
  target: (family: Family) => string,
  /** The address that the pod sees, for each port; '' where nobody answers, `refused` where the node itself says no. */
  sees: (family: Family, mode: keyof typeof MODES) => Readonly<Record<number, string>>,
  from?: (family: Family) => string,
]

/** Ports on any address lead to the pod from everywhere, and the others from what they are for. */
const seen = (family: Family, address: string): Record<number, string> => ({
  8080: `pod ${address}`,
  [family === 4 ? 8081 : 8082]: `pod ${address}`,
  8083: `pod ${address}`,
})
const notSingle = (family: Family, address: string): Record<number, string> => ({
  ...seen(family, address),
  8083: 'no',
})

const ROWS: readonly Row[] = [
  ['a host outside', () => outside.netns, (f) => NODE[f], (f) => seen(f, OUTSIDE[f])],
  [
    'a host outside, by another address',
    () => outside.netns,
    (f) => OTHER_OWN[f],
    (f) => notSingle(f, OUTSIDE[f]),
  ],
  [
    'a pod of this node',
    () => neighbour,
    (f) => NODE[f],
    (f, mode) => seen(f, mode === 'l3' ? NEIGHBOUR[f] : GATEWAY[f]),
  ],
  [
    'a pod of this node, by its gateway',
    () => neighbour,
    (f) => GATEWAY[f],
    (f, mode) => notSingle(f, mode === 'l3' ? NEIGHBOUR[f] : GATEWAY[f]),
  ],
  ['the pod itself', () => pod, (f) => NODE[f], (f) => seen(f, GATEWAY[f])],
  ['the node, by its address', () => undefined, (f) => NODE[f], (f) => seen(f, NODE[f])],
  ['the node, by the gateway', () => undefined, (f) => GATEWAY[f], (f) => notSingle(f, GATEWAY[f])],
]

describe.each(['l3', 'l2'] as const)('host ports in mode %s', (mode) => {
  describe.each([
    ['', {}, 1],
    [', masqueraded', { ipMasq: true }, 1],
    [', where bridges do not ask the packet filter', {}, 0],
  ])('%s', (_, more, bridgeNf) => {
    it('lead to the pod', async () => {
      run(`for i in iptables ip6tables; do echo ${bridgeNf} > /proc/sys/net/bridge/bridge-nf-call-$i; done`)
      await start({ ...MODES[mode], ...more })
      for (const [who, client, target, sees] of ROWS) {
        const wanted = FAMILIES.flatMap((family) =>
          TRANSPORTS.flatMap((transport) =>
            Object.entries(sees(family, mode)).map(([port, answer]) => ({
              question: {
                transport,
                address: target(family),
                port: Number(port),
                timeoutMs: 2000,
              } as Question,
              answer:
                answer === 'no' ? (transport === 'tcp' || transport === 'udp' ? 'refused' : '') : answer,
            })),
          ),
        )
        const answers = await ask(
          client(),
          wanted.map(({ question }) => question),
        )
        const show = ({ transport, address, port }: Question, answer: string) =>
          `${who}: ${transport} ${address} ${port}: ${answer}`
        expect(wanted.map(({ question }, i) => show(question, answers[i] ?? ''))).toEqual(
          wanted.map(({ question, answer }) => show(question, answer)),
        )
      }
      await end({ ...MODES[mode], ...more })
    })
  })
})

async function start(config: object): Promise<void> {
  const withPorts = { ...config, runtimeConfig: { portMappings: MAPPINGS } }
  const args = 'K8S_POD_NAMESPACE=default;K8S_POD_NAME=web'
  expectSuccess(await callFor(pod, 'ADD', withPorts, { args }))
  expectSuccess(await callFor(neighbour, 'ADD', config))
  servers = [await startServers(pod, 80, 'pod')]
}

async function end(config: object): Promise<void> {
  for (const one of [pod, neighbour]) expectSuccess(await callFor(one, 'DEL', config))
  const left = await residue()
  expect({ ...left, links: left.links.filter((name) => name !== 'br0') }).toEqual(NOTHING)
}
