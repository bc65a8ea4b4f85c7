import { describe, expect, it } from 'vitest'
import { Code } from '../../src/core/errors.ts'
import { createFakeNode, type FakeNode, L2, NETNS } from '../fakes/node.ts'
import {
  BARE,
  CONFIG,
  check,
  INTERFACES,
  MAC,
  makePair,
  masterOf,
  PREVIOUS,
  RECORDS,
  routesOf,
  withForeignPod,
  withRoutedPod,
} from '../support/foreign_pod.ts'

describe('ADD behind a plugin that has made the interface', () => {
  it('answers with the result that it got, and our bridge behind it', () => {
    const { json } = withForeignPod().call('ADD', { config: CONFIG })
    const { interfaces, ...rest } = PREVIOUS
    expect(json).toEqual({
      ...rest,
      interfaces: [...interfaces, { name: 'br0', mac: expect.any(String), mtu: 1500 }],
    })
  })

  it('touches nothing in the pod', () => {
    const node = withForeignPod()
    const before = node.kernel.dump().namespaces
    node.call('ADD', { config: CONFIG })
    expect(node.kernel.dump().namespaces).toEqual(before)
  })

  it('checks the hardware address that the pod has from its maker, until DEL', () => {
    const node = withForeignPod()
    const config = { ...CONFIG, macspoofchk: true }
    const added = node.call('ADD', { config })
    expect(added).toMatchObject({ exitCode: 0 })
    expect(check(node, added, config)).toMatchObject({ exitCode: 0 })
    const { chains, maps } = node.kernel.dump().nft['bridge bowline'] ?? {}
    expect(maps?.['macspoofchk']).toMatchObject({ elements: { '"foreign0"': expect.any(String) } })
    expect(JSON.stringify(chains)).toContain(`ether saddr ${MAC} return`)
    expect(node.call('DEL', { config: BARE })).toMatchObject({ exitCode: 0 })
    expect(node.residue()).toEqual(['link foreign0'])
  })

  it('turns the host route of a routed pod to the bridge, and DEL turns it back', () => {
    const node = withRoutedPod()
    node.call('ADD', { config: CONFIG })
    expect(routesOf(node, 'foreign0')).not.toContain('10.3.0.5/32')
    expect(routesOf(node, 'br0')).toContain('10.3.0.5/32')
    node.call('DEL', { config: BARE })
    expect(routesOf(node, 'br0')).not.toContain('10.3.0.5/32')
    expect(routesOf(node, 'foreign0')).toContain('10.3.0.5/32')
  })

  it.each(['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'])('reads and prints version %s', (cniVersion) => {
    const ips = cniVersion < '1' ? [{ version: '4', ...PREVIOUS.ips[0] }] : PREVIOUS.ips
    const prevResult = { ...PREVIOUS, cniVersion, ips }
    const { json } = withForeignPod().call('ADD', { config: { ...BARE, cniVersion, prevResult } })
    expect(json).toMatchObject({ ...prevResult, interfaces: [...INTERFACES, { name: 'br0' }] })
  })

  it.each([{}, { type: '' }])('takes the key "ipam": %j for none', (ipam) => {
    expect(withForeignPod().call('ADD', { config: { ...CONFIG, ipam } })).toMatchObject({ exitCode: 0 })
  })

  it('finds the peer of the interface among several links on the host', () => {
    const node = withForeignPod()
    makePair(node, 'foreign1', 'eth1')
    const interfaces = [{ name: 'foreign1' }, ...INTERFACES, { name: 'eth1', sandbox: NETNS }]
    const ips = [{ address: '10.3.0.5/24', interface: 2 }]
    const answer = node.call('ADD', { config: { ...CONFIG, prevResult: { ...PREVIOUS, interfaces, ips } } })
    expect(answer).toMatchObject({ exitCode: 0 })
    expect([masterOf(node, 'foreign0'), masterOf(node, 'foreign1')]).toEqual(['br0', undefined])
  })

  it.each<[string, object, string]>([
    ['"ipam" is another plugin', { ipam: { type: 'host-local' } }, 'ipam.type'],
    ['a default route is asked for', { isDefaultGateway: true }, 'isDefaultGateway'],
    [
      'several links are listed, and none is the peer',
      {
        prevResult: {
          ...PREVIOUS,
          interfaces: [{ name: 'a0' }, { name: 'b0' }, { name: 'eth0', sandbox: NETNS }],
        },
      },
      'a0, b0',
    ],
  ])('is refused before any change when %s', (_case, more, says) => {
    const node = withForeignPod()
    makePair(node, 'a0', 'a1')
    makePair(node, 'b0', 'b1')
    const before = node.kernel.dump()
    const answer = node.call('ADD', { config: { ...CONFIG, ...more } })
    expect(answer.json['code']).toBe(Code.invalidConfig)
    expect(answer.stdout).toContain(says)
    expect(node.kernel.dump()).toEqual(before)
    expect(node.files.list(RECORDS)).toEqual([])
  })

  it('is refused when the interface is not there', () => {
    const node = createFakeNode()
    expect(node.call('ADD', { config: CONFIG }).stdout).toContain('has none')
  })

  it('a second time is refused, and leaves the first as it was', () => {
    const node = withForeignPod()
    const added = node.call('ADD', { config: CONFIG })
    expect(node.call('ADD', { config: CONFIG }).json['code']).toBe(Code.interfaceExists)
    expect(check(node, added)).toMatchObject({ exitCode: 0 })
  })

  it('is refused where the interface is our own: the plugin stands twice in the list', () => {
    const node = createFakeNode()
    const prevResult = node.call('ADD', { config: L2 }).json
    const { json } = node.call('ADD', { config: { ...BARE, prevResult } })
    expect(json).toMatchObject({ code: Code.invalidConfig, details: expect.stringContaining('only once') })
    expect(check(node, { json: prevResult }, L2)).toMatchObject({ exitCode: 0 })
  })
})

describe('CHECK behind another plugin', () => {
  it.each<[string, (node: FakeNode) => void, string]>([
    [
      'the link is no port of our bridge any more',
      (node) => node.kernel.host().apply([{ op: 'setLink', link: { name: 'foreign0' }, master: 0 }]),
      'not a port of bridge br0',
    ],
    [
      'the link is gone',
      (node) => node.kernel.host().apply([{ op: 'removeLink', link: { name: 'foreign0' } }]),
      'foreign0 is missing',
    ],
    [
      'the record is lost',
      (node) => {
        for (const name of node.files.list(RECORDS)) node.files.remove(`${RECORDS}/${name}`)
      },
      'record is missing',
    ],
  ])('fails when %s', (_, harm, says) => {
    const node = withForeignPod()
    const added = node.call('ADD', { config: CONFIG })
    expect(check(node, added)).toMatchObject({ exitCode: 0 })
    harm(node)
    expect(check(node, added).json).toMatchObject({
      code: Code.checkFailed,
      msg: expect.stringContaining(says),
    })
  })
})

describe('DEL behind another plugin', () => {
  it.each<[string, object]>([
    ['as ADD was called', CONFIG],
    ['without prevResult', BARE],
    ['with another config', { ...BARE, bridge: 'br9', ipMasq: false }],
  ])('called %s takes the link off the bridge, and leaves it to whom it belongs', (_case, config) => {
    const node = withForeignPod()
    node.call('ADD', { config: CONFIG })
    for (const time of [1, 2]) {
      expect(node.call('DEL', { config }), `time ${time}`).toMatchObject({ exitCode: 0 })
      expect(masterOf(node, 'foreign0')).toBeUndefined()
      expect(node.residue()).toEqual(['link foreign0'])
    }
  })

  it('leaves the link on the bridge if an earlier plugin had put it there', () => {
    const node = withForeignPod()
    const host = node.kernel.host()
    host.apply([{ op: 'createBridge', name: 'br0', mac: MAC as never }])
    host.apply([
      { op: 'setLink', link: { name: 'foreign0' }, master: host.link({ name: 'br0' })?.index ?? 0 },
    ])
    const interfaces = [{ name: 'br0', mac: MAC }, ...INTERFACES]
    const prevResult = { ...PREVIOUS, interfaces, ips: [{ address: '10.3.0.5/24', interface: 2 }] }
    const added = node.call('ADD', { config: { ...BARE, prevResult } })
    expect(added.json['interfaces']).toEqual(interfaces)
    node.call('DEL', { config: BARE })
    expect(masterOf(node, 'foreign0')).toBe('br0')
  })

  it('leaves alone a link of the same name that came later', () => {
    const node = withForeignPod()
    node.call('ADD', { config: CONFIG })
    const host = node.kernel.host()
    host.apply([{ op: 'removeLink', link: { name: 'foreign0' } }])
    makePair(node, 'foreign0', 'eth0')
    host.apply([
      { op: 'setLink', link: { name: 'foreign0' }, master: host.link({ name: 'br0' })?.index ?? 0 },
    ])
    expect(node.call('DEL', { config: BARE })).toMatchObject({ exitCode: 0 })
    expect(masterOf(node, 'foreign0')).toBe('br0')
  })

  it('leaves the link on another bridge that it was moved to', () => {
    const node = withForeignPod()
    node.call('ADD', { config: CONFIG })
    const host = node.kernel.host()
    host.apply([{ op: 'createBridge', name: 'br9', mac: MAC as never }])
    host.apply([
      { op: 'setLink', link: { name: 'foreign0' }, master: host.link({ name: 'br9' })?.index ?? 0 },
    ])
    expect(node.call('DEL', { config: BARE })).toMatchObject({ exitCode: 0 })
    expect(masterOf(node, 'foreign0')).toBe('br9')
  })

  it('leaves alone the interface and the lease of another plugin when there is no record', () => {
    const node = withForeignPod()
    node.files.ensureDirectory('/var/lib/cni/networks/net')
    node.files.create('/var/lib/cni/networks/net/10.3.0.5', 'c1\r\neth0')
    expect(node.call('DEL', { config: CONFIG })).toMatchObject({ exitCode: 0 })
    expect(node.kernel.host().link({ name: 'foreign0' })).toBeDefined()
    expect(node.files.read('/var/lib/cni/networks/net/10.3.0.5')).toBe('c1\r\neth0')
  })
})
