import { describe, expect, it } from 'vitest'
import { ask, type Question, startServers } from '../../support/node/exchange.ts'
import {
  callWith,
  GATEWAY,
  MODES,
  NEIGHBOUR,
  NODE,
  POD,
  useHostPortsNode,
} from '../../support/node/host_ports_node.ts'
import { expectSuccess } from '../../support/node/pods.ts'
import { run } from '../../support/node/private_namespaces.ts'
import type { Netns } from '../../support/node/sandbox.ts'

/*
 * What `route_localnet` opens is shut again: a pod, or a host outside, that sends to 127.0.0.0/8 by the node reaches no program of the node,
 * whatever it calls itself.
 */
const PORT = { hostPort: 8080, containerPort: 80, protocol: 'tcp' }
const node = useHostPortsNode()

describe.each(['l3', 'l2'] as const)('in mode %s', (mode) => {
  it('no link leads to 127.0.0.0/8 of the node', async () => {
    expectSuccess(await callWith(POD, 'ADD', MODES[mode], [PORT]))
    node.programs.push(await startServers(undefined, 9000, 'node'))
    const [from, to] = [POD, '127.0.0.1']
    sendToLoopbackBy(from, GATEWAY[4])
    expect(await reached(from, { address: to })).toEqual([''])
    // A source of 127.0.0.0/8 has no other way to the node.
    expect(await reached(from, { address: NODE[4], from: '127.0.0.2' })).toEqual([''])
    expect(await reached(from, { address: NODE[4] })).toEqual(['node 10.1.0.2'])
    // It is our chain that keeps it shut.
    run('nft flush chain inet bowline host-ports-input')
    expect(await reached(from, { address: to })).toEqual(['node 10.1.0.2'])
  })

  it('what somebody translates to 127.0.0.1 on purpose goes on', async () => {
    expectSuccess(await callWith(POD, 'ADD', MODES[mode], [PORT]))
    node.programs.push(await startServers(undefined, 9000, 'node'))
    run(`sysctl -qw net.ipv4.conf.up0.route_localnet=1
      nft 'add table ip other; add chain ip other p { type nat hook prerouting priority -150; }; add rule ip other p tcp dport 9001 dnat to 127.0.0.1:9000'`)
    const question = { transport: 'tcp', address: NODE[4], port: 9001 } as const
    expect(await ask(node.outside.netns, [question])).toEqual(['node 192.0.2.2'])
    run('sysctl -qw net.ipv4.conf.up0.route_localnet=0')
  })

  it('traffic of pods to that port of other hosts is not caught', async () => {
    expectSuccess(await callWith(POD, 'ADD', MODES[mode], [PORT]))
    expectSuccess(await callWith(NEIGHBOUR, 'ADD', { ...MODES[mode], ipMasq: true }))
    node.programs.push(
      await startServers(POD, 80, 'pod'),
      await startServers(node.outside.netns, 8080, 'outside'),
    )
    const question = { transport: 'tcp', address: node.outside.address, port: 8080 } as const
    expect(await ask(NEIGHBOUR, [question])).toEqual([`outside ${NODE[4]}`])
    expect(await ask(undefined, [question])).toEqual([`outside ${NODE[4]}`])
  })
})

it('a bridge on which somebody else has turned route_localnet on keeps it', async () => {
  run('ip link add br0 type bridge; sysctl -qw net.ipv4.conf.br0.route_localnet=1')
  for (const pod of [POD, NEIGHBOUR]) {
    const port = { ...PORT, hostPort: pod === POD ? 8080 : 8081 }
    expectSuccess(await callWith(pod, 'ADD', MODES.l2, [port]))
  }
  for (const pod of [POD, NEIGHBOUR]) expectSuccess(await callWith(pod, 'DEL', MODES.l2))
  expect(run('cat /proc/sys/net/ipv4/conf/br0/route_localnet').trim()).toBe('1')
  run('ip link del br0')
})

/** Lets a namespace send packets of 127.0.0.0/8, which a kernel keeps to itself. */
function sendToLoopbackBy({ name }: Netns, gateway: string): void {
  run(`ip netns exec ${name} sysctl -qw net.ipv4.conf.eth0.route_localnet=1 net.ipv4.conf.all.rp_filter=0
    ip -n ${name} route del local 127.0.0.0/8 dev lo table local; ip -n ${name} route del local 127.0.0.1 dev lo table local
    ip -n ${name} route add 127.0.0.1 via ${gateway} dev eth0; ip -n ${name} route add local 127.0.0.2 dev lo table local`)
}

function reached(from: Netns, question: Pick<Question, 'address' | 'from'>): Promise<string[]> {
  return ask(from, [{ ...question, transport: 'tcp', port: 9000, timeoutMs: 1000 }])
}
