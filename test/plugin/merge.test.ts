import { describe, expect, it } from 'vitest'
import { Code } from '../../src/core/errors.ts'
import { createFakeNode, L2, NETNS } from '../fakes/node.ts'

describe('ADD behind a plugin that has made something else', () => {
  it('is refused when that plugin has addresses of our IPAM under the name of our interface', () => {
    const node = createFakeNode()
    const calledAs = 'bowline-ipam'
    node.call('ADD', { calledAs, config: L2 })
    const config = { ...L2, prevResult: { ...lo, interfaces: [{ name: 'net1', sandbox: NETNS }] } }
    expect(node.call('ADD', { config }).json).toMatchObject({
      code: Code.invalidConfig,
      msg: expect.stringContaining('10.1.0.2'),
    })
    expect(node.call('CHECK', { calledAs, config: L2 })).toMatchObject({ exitCode: 0 })
  })

  const lo = {
    cniVersion: '1.1.0',
    interfaces: [{ name: 'lo', mac: '00:00:00:00:00:00', sandbox: NETNS }],
    ips: [{ address: '127.0.0.1/8', interface: 0 }],
    routes: [{ dst: '10.77.0.0/16', gw: '127.0.0.1' }],
    dns: { search: ['theirs.example'] },
  }

  it('puts what we made behind what is there, with the indexes moved', () => {
    const node = createFakeNode()
    const own = createFakeNode().call('ADD', { config: L2 }).json as Record<string, object[]>
    const { json } = node.call('ADD', { config: { ...L2, prevResult: lo } })
    expect(json).toEqual({
      cniVersion: '1.1.0',
      interfaces: [...lo.interfaces, ...(own['interfaces'] ?? [])],
      ips: [...lo.ips, ...(own['ips'] ?? []).map((ip) => ({ ...ip, interface: 3 }))],
      routes: [...lo.routes, ...(own['routes'] ?? [])],
      dns: lo.dns,
    })
  })

  it('prefers our own DNS settings', () => {
    const config = { ...L2, dns: { search: ['ours.example'] }, prevResult: lo }
    expect(createFakeNode().call('ADD', { config }).json['dns']).toEqual({ search: ['ours.example'] })
  })

  it.each([
    ['our own IPAM', L2],
    ['a delegate', { ...L2, ipam: { type: 'other-ipam' } }],
  ])('passes CHECK with the whole result, with addresses of %s', (_case, config) => {
    const ips = [{ address: '10.1.0.5/24', gateway: '10.1.0.1' }]
    const routes = [{ dst: '10.8.0.0/16', gw: '10.1.0.1' }]
    const node = createFakeNode({ plugins: { 'other-ipam': () => ({ ips, routes }) } })
    const added = node.call('ADD', { config: { ...config, prevResult: lo } })
    expect(added).toMatchObject({ exitCode: 0 })
    const checked = { ...config, prevResult: added.json }
    expect(node.call('CHECK', { config: checked })).toMatchObject({ exitCode: 0 })
  })

  it.each(['0.3.0', '0.4.0', '1.0.0'])('reads and prints version %s', (cniVersion) => {
    const { json } = createFakeNode().call('ADD', {
      config: { ...L2, cniVersion, prevResult: { ...lo, cniVersion } },
    })
    expect(json).toMatchObject({
      cniVersion,
      ips: [{ address: '127.0.0.1/8', interface: 0 }, { interface: 3 }, {}],
    })
  })

  it.each(['0.1.0', '0.2.0'])('reads the oldest form of a result, version %s', (cniVersion) => {
    const prevResult = { cniVersion, ip4: { ip: '10.7.0.5/24' } }
    const { json } = createFakeNode().call('ADD', { config: { ...L2, cniVersion, prevResult } })
    expect(json).toMatchObject({ cniVersion, ip4: { ip: '10.7.0.5/24' }, ip6: { ip: 'fd00:1::2/64' } })
  })
})
