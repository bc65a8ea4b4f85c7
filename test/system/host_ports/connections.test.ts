import { expect, it } from 'vitest'
import { ask, type Question, startServers, type Transport } from '../../support/node/exchange.ts'
import {
  callWith,
  MODES,
  NEIGHBOUR,
  NODE,
  POD,
  useHostPortsNode,
} from '../../support/node/host_ports_node.ts'
import { expectSuccess } from '../../support/node/pods.ts'
import { run } from '../../support/node/private_namespaces.ts'

/*
 * A client of UDP or SCTP that always sends from one port is one connection to the kernel: it must find the pod that has the port now
 * (plugins#123). Connections to other hosts stay tracked.
 */
const node = useHostPortsNode()

it.each<[Transport, 4 | 6, number]>([
  ['udp', 4, 1],
  ['udp', 6, 1],
  ['udp', 4, 9],
  ['udp', 6, 9],
  ['sctp', 4, 1],
  ['sctp', 6, 1],
])(
  'a client that goes on sending by %s over IPv%d finds each pod that has the port, one of %d',
  async (transport, family, count) => {
    const config = MODES.l3
    const hostPorts = Array.from({ length: count }, (_, i) => 8053 + i)
    const ports = hostPorts.map((hostPort) => ({ hostPort, containerPort: 80, protocol: transport }))
    const question: Question = {
      transport,
      address: NODE[family],
      port: 8053,
      fromPort: 5353,
      ...(transport === 'udp' && { from: family === 4 ? '192.0.2.2' : '2001:db8::2' }),
      timeoutMs: 700,
    }
    const client = () => ask(node.outside.netns, [question])
    const other = { ...question, address: node.outside.address, from: NODE[4] }
    // Connections are tracked from the first rule on that needs it.
    run(
      "nft 'add table inet other; add chain inet other c { type filter hook input priority 0; }; add rule inet other c ct state new'",
    )
    if (transport === 'udp') await ask(undefined, [other])
    expect(await client()).not.toContain('pod-a 192.0.2.2')
    for (const [i, pod] of [POD, NEIGHBOUR, POD].entries()) {
      expectSuccess(await callWith(pod, 'ADD', config, ports))
      node.programs.push(await startServers(pod, 80, `${pod.name}${i}`))
      expect(await client()).toEqual([`${pod.name}${i} ${family === 4 ? '192.0.2.2' : '2001:db8::2'}`])
      expectSuccess(await callWith(pod, 'DEL', config))
      expect(tracked()).not.toMatch(/dport=8053 .*src=(10\.1\.0|fd00:0001)/)
      run(`ip netns del ${pod.name}; ip netns add ${pod.name}; ip -n ${pod.name} link set lo up`)
    }
    if (transport === 'udp') expect(tracked()).toMatch(/src=192\.0\.2\.1 dst=192\.0\.2\.2 .* dport=8053/)
  },
)

it('TCP of a pod that is gone is not tracked on', async () => {
  const ports = [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }]
  expectSuccess(await callWith(POD, 'ADD', MODES.l3, ports))
  node.programs.push(await startServers(POD, 80, 'pod'))
  expect(await ask(node.outside.netns, [{ transport: 'tcp', address: NODE[4], port: 8080 }])).toEqual([
    'pod 192.0.2.2',
  ])
  expect(tracked()).toContain('dport=8080')
  expectSuccess(await callWith(POD, 'DEL', MODES.l3))
  expect(tracked()).not.toContain('dport=8080')
})

function tracked(): string {
  return run('cat /proc/net/nf_conntrack')
}
