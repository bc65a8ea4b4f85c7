import { describe, expect, it } from 'vitest'
import { type Address, parseAddress } from '../../src/core/address.ts'
import { formatHostPort, parseHostPort } from '../../src/core/host_port.ts'
import { openPorts } from '../../src/plugin/ports.ts'
import { createFakeNode, L2, L3, NETNS_2 } from '../fakes/node.ts'

/* What host ports do that a look from outside does not show. */
const PORTS = [
  { hostPort: 8080, containerPort: 80, protocol: 'tcp', hostIP: '' },
  { hostPort: 53, containerPort: 5353, protocol: 'udp', hostIP: '192.0.2.1' },
]
const withPorts = (config: object, portMappings: readonly object[] = PORTS) => ({
  ...config,
  runtimeConfig: { portMappings },
})

describe('a host port', () => {
  it.each([
    '8080:80/tcp',
    '0.0.0.0:53:53/udp',
    '192.0.2.1:53:5353/udp',
    '[::]:1:65535/sctp',
    '[2001:db8::1]:8080:80/tcp',
  ])('%s is read as it is written', (text) => {
    expect(formatHostPort(parseHostPort(text))).toBe(text)
  })

  it.each(['', '8080', '8080:80', '08:80/tcp', '192.0.2.1:80/tcp', '2001:db8::1:8080:80/tcp', 'x:1:2/tcp'])(
    '%j is none',
    (text) => {
      expect(() => parseHostPort(text)).toThrow()
    },
  )
})

describe.each([
  ['l3', L3],
  ['l2', L2],
])('in mode %s', (_, config) => {
  it('what somebody removes is made again for all pods of this boot', () => {
    const node = createFakeNode()
    node.call('ADD', { config: withPorts(config) })
    node.call('ADD', {
      config: withPorts(config, [{ hostPort: 8081, containerPort: 80 }]),
      containerId: 'c2',
      netns: NETNS_2,
    })
    const before = node.kernel.nftables.dump()
    const { features } = openPorts({ kernel: node.kernel, files: node.files, plugins: node.delegate.runner })
    const restore = () => features.flatMap((one) => one.restore?.(() => config as never) ?? [])
    expect(restore()).toEqual([])
    node.kernel.nftables.clear()
    expect(restore()).toEqual(expect.arrayContaining(['host ports 8080:80/tcp 192.0.2.1:53:5353/udp of c1']))
    expect(node.kernel.nftables.dump()).toEqual(before)
    const table = { family: 'inet', name: 'bowline' } as const
    node.kernel.nftables.apply([{ op: 'flushChain', chain: { table, name: 'host-ports-input' } }])
    expect(restore()).toEqual(['host ports 8080:80/tcp 192.0.2.1:53:5353/udp of c1'])
    expect(node.kernel.nftables.dump()).toEqual(before)
  })

  it('an ADD without ports asks nothing for their sake', () => {
    const [without, other] = [createFakeNode(), createFakeNode()]
    without.call('ADD', { config })
    other.call('ADD', { config: withPorts(config, []) })
    expect(other.history()).toEqual(without.history())
    expect(without.history().join()).not.toMatch(/host-port|listeners|connections/)
  })

  it('only what was for an address of this node is forgotten', () => {
    const node = createFakeNode()
    const connection = (destination: string, port: number, answeredBy = destination) => ({
      protocol: 17,
      client: parseAddress('192.0.2.77'),
      destination: parseAddress(destination),
      port,
      answeredBy: parseAddress(answeredBy),
      identity: new Uint8Array(),
    })
    const [ours, localhost] = [connection('10.1.0.1', 53), connection('127.0.0.1', 53)]
    const kept = [connection('192.0.2.53', 53), connection('10.1.0.1', 54), connection('192.0.2.9', 53)]
    node.kernel.traffic.tracked = [ours, localhost, ...kept]
    const ports = [{ hostPort: 53, containerPort: 53, protocol: 'udp' }]
    node.call('ADD', { config: withPorts(config, ports) })
    expect(node.kernel.traffic.tracked).toEqual(kept)
    const led = connection('10.1.0.1', 53, '10.1.0.2')
    const direct = connection('10.1.0.2', 53)
    node.kernel.traffic.tracked = [led, direct, ...kept]
    node.call('DEL', { config })
    expect(node.kernel.traffic.tracked).toEqual([direct, ...kept])
  })
})

it('a listener of any family that takes both stands in the way of both', () => {
  const any = (family: Address['family']): Address => ({ family, value: 0n })
  for (const family of [4, 6] as const) {
    const node = createFakeNode()
    node.kernel.traffic.sockets.set(6, [{ address: any(family), port: 8080 }])
    const answer = node.call('ADD', { config: withPorts(L3) })
    expect(answer.json).toMatchObject({ code: 101 })
    expect(node.residue()).toEqual([])
  }
})
