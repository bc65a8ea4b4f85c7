import { describe, expect, it } from 'vitest'
import { formatAddress, formatCidr, parseAddress, parseCidr } from '../../src/core/address.ts'
import { deriveNames } from '../../src/core/names.ts'
import { planPod } from '../../src/pod/plan.ts'
import type { BridgeSpec, PodSpec } from '../../src/pod/spec.ts'
import type { PlannedRoute } from '../../src/state/desired.ts'

const id = { network: 'net', containerId: 'c1', ifName: 'eth0' }
const names = deriveNames(id)
const v4 = { cidr: parseCidr('10.1.0.5/24'), gateway: parseAddress('10.1.0.1') }
const v6 = { cidr: parseCidr('fd00::5/64'), gateway: parseAddress('fd00::1') }
const everywhere = { dst: parseCidr('0.0.0.0/0') }

const bridge: BridgeSpec = {
  name: 'cni0',
  mac: names.hostMac,
  isGateway: true,
  isDefaultGateway: false,
  forceAddress: false,
  promiscuous: false,
  port: {},
  vlanFiltering: false,
}

function specOf(changes: Partial<PodSpec>): PodSpec {
  const { hostIfName, hostMac, podMac } = names
  const config = { name: 'net', cniVersion: '1.1.0' } as const
  const base = { id, config, hostIfName, hostMac, podMac, ips: [v4], routes: [everywhere] }
  return { ...base, mode: 'l3', podUp: true, ...changes }
}

function texts(routes: readonly PlannedRoute[]): string[] {
  return routes.map(({ dst, gateway, source }) => {
    const parts = [formatCidr(dst), gateway && `via ${formatAddress(gateway)}`]
    return [...parts, source && `src ${formatAddress(source)}`].filter(Boolean).join(' ')
  })
}

describe('a routed pod', () => {
  it('has its address as a host route and reaches all by the gateway', () => {
    const { pod } = planPod(specOf({}))
    expect(pod.addresses.map(formatCidr)).toEqual(['10.1.0.5/32'])
    expect(texts(pod.routes)).toEqual(['10.1.0.1/32', '0.0.0.0/0 via 10.1.0.1'])
  })

  it('is reached from the host by a route whose source is the gateway', () => {
    expect(texts(planPod(specOf({})).host.routes)).toEqual(['10.1.0.5/32 src 10.1.0.1'])
  })

  it('knows its gateway without asking, and is known to it', () => {
    const { pod, host } = planPod(specOf({}))
    expect(pod.neighbours).toEqual([{ address: v4.gateway, mac: names.hostMac }])
    expect(host.neighbours).toEqual([{ address: v4.cidr.address, mac: names.podMac }])
  })

  it('gets a route to its own subnet when there is no default route', () => {
    const { pod } = planPod(specOf({ routes: [{ dst: parseCidr('192.168.0.0/16') }] }))
    expect(texts(pod.routes)).toEqual([
      '10.1.0.1/32',
      '10.1.0.0/24 via 10.1.0.1',
      '192.168.0.0/16 via 10.1.0.1',
    ])
  })

  it('has both families by the same rules', () => {
    const { pod } = planPod(specOf({ ips: [v4, v6], routes: [everywhere, { dst: parseCidr('::/0') }] }))
    expect(pod.addresses.map(formatCidr)).toEqual(['10.1.0.5/32', 'fd00::5/128'])
    expect(texts(pod.routes)).toContain('::/0 via fd00::1')
  })

  it('uses a link-local gateway when IPAM names none', () => {
    const { pod, host } = planPod(specOf({ ips: [{ cidr: v4.cidr }] }))
    expect(texts(pod.routes)).toContain('0.0.0.0/0 via 169.254.1.1')
    expect(host.addresses.map(formatCidr)).toEqual(['169.254.1.1/32'])
  })
})

describe('an MTU', () => {
  it.each<Partial<PodSpec>>([{}, { mode: 'l2', bridge }])(
    'below 1280 is refused for IPv6 only: %o',
    (changes) => {
      const plan = (mtu: number, ips: PodSpec['ips']) => () =>
        planPod(specOf({ ...changes, mtu, ips, routes: [] }))
      expect(plan(1279, [v4, v6])).toThrow(
        'key "mtu": 1279 is less than the 1280 bytes that fd00::5/64 needs',
      )
      expect(plan(1280, [v4, v6])).not.toThrow()
      expect(plan(1279, [v4])).not.toThrow()
    },
  )
})

describe('a bridged pod', () => {
  it('sits in its subnet, and the bridge carries the gateway', () => {
    const plan = planPod(specOf({ mode: 'l2', bridge }))
    expect(plan.pod.addresses.map(formatCidr)).toEqual(['10.1.0.5/24'])
    expect(plan.bridgeAddresses.map(formatCidr)).toEqual(['10.1.0.1/24'])
    expect(plan.host.routes).toEqual([])
  })

  it('gets a default route for isDefaultGateway', () => {
    const spec = specOf({ mode: 'l2', routes: [], bridge: { ...bridge, isDefaultGateway: true } })
    expect(texts(planPod(spec).pod.routes)).toEqual(['0.0.0.0/0 via 10.1.0.1'])
  })

  it('gets one default route when both the routes and isDefaultGateway ask for it', () => {
    const spec = specOf({ mode: 'l2', bridge: { ...bridge, isDefaultGateway: true } })
    expect(texts(planPod(spec).pod.routes)).toEqual(['0.0.0.0/0 via 10.1.0.1'])
  })

  it('keeps two default routes through different gateways', () => {
    const routes = [everywhere, { ...everywhere, gw: parseAddress('10.1.0.2') }]
    expect(texts(planPod(specOf({ mode: 'l2', bridge, routes })).pod.routes)).toEqual([
      '0.0.0.0/0 via 10.1.0.1',
      '0.0.0.0/0 via 10.1.0.2',
    ])
  })
})

describe('a route', () => {
  const to = (dst: string, more: object = {}) => ({ dst: parseCidr(dst), ...more })
  const planned = (mode: 'l2' | 'l3', ...routes: PodSpec['routes']) =>
    planPod(specOf({ mode, ips: [v4, v6], routes, ...(mode === 'l2' && { bridge }) })).pod.routes

  it.each(['l2', 'l3'] as const)('keeps its metrics, priority, table and scope (mode %s)', (mode) => {
    const numbers = { mtu: 1300, advmss: 1200, priority: 50, table: 100 }
    const routes = planned(mode, to('10.9.0.0/24', { ...numbers, scope: 0 }), to('fd09::/64', numbers))
    expect(routes).toContainEqual({
      dst: parseCidr('10.9.0.0/24'),
      gateway: v4.gateway,
      ...numbers,
      scope: 0,
    })
    expect(routes).toContainEqual({ dst: parseCidr('fd09::/64'), gateway: v6.gateway, ...numbers })
  })

  it('has no number where the configuration says 0, but for a scope', () => {
    const zeros = { mtu: 0, advmss: 0, priority: 0, table: 0 }
    expect(planned('l2', to('10.9.0.0/24', { ...zeros, scope: 0 }))).toEqual([
      { dst: parseCidr('10.9.0.0/24'), gateway: v4.gateway, scope: 0 },
    ])
  })

  it('of scope link or host has no gateway unless it names one', () => {
    expect(planned('l2', to('10.9.0.0/24', { scope: 253 }), to('10.8.0.0/24', { scope: 254 }))).toEqual([
      { dst: parseCidr('10.9.0.0/24'), scope: 253 },
      { dst: parseCidr('10.8.0.0/24'), scope: 254 },
    ])
  })

  it('by a gateway of the other family is refused, with both and a hint', () => {
    const wrong = to('10.9.0.0/24', { gw: v6.gateway })
    expect(() => planned('l2', wrong)).toThrow('fd00::1 of 10.9.0.0/24 is of another address family')
  })

  it('by a gateway that is not the node’s is refused in mode l3, and left to the kernel in mode l2', () => {
    const away = to('10.9.0.0/24', { gw: parseAddress('10.1.0.254') })
    expect(() => planned('l3', away)).toThrow(
      'the gateway 10.1.0.254 of 10.9.0.0/24 can\'t be reached: in mode "l3" the next hop is the node, which is 10.1.0.1, fd00::1',
    )
    expect(planned('l2', away)).toHaveLength(1)
  })

  it('by one of several gateways of the node is fine in mode l3', () => {
    const second = { cidr: parseCidr('10.2.0.5/24'), gateway: parseAddress('10.2.0.1') }
    const routes = [everywhere, { ...everywhere, gw: second.gateway }]
    expect(texts(planPod(specOf({ ips: [v4, second], routes })).pod.routes)).toEqual([
      '10.1.0.1/32',
      '10.2.0.1/32',
      '0.0.0.0/0 via 10.1.0.1',
      '0.0.0.0/0 via 10.2.0.1',
    ])
  })

  it('to the pod’s own subnet takes the place of the one that a routed pod would get', () => {
    expect(planned('l3', to('10.1.0.0/24', { mtu: 1300 }), to('::/0'))).toEqual([
      { dst: parseCidr('10.1.0.1/32'), scope: 253 },
      { dst: parseCidr('fd00::1/128'), scope: 0 },
      { dst: parseCidr('10.1.0.0/24'), gateway: v4.gateway, mtu: 1300 },
      { dst: parseCidr('::/0'), gateway: v6.gateway },
    ])
  })

  it('to everywhere in another table does not stand in for the way to the own subnet', () => {
    const routes = planned('l3', to('0.0.0.0/0', { table: 100 }), to('::/0'))
    expect(texts(routes)).toContain('10.1.0.0/24 via 10.1.0.1')
  })
})
