import { beforeEach, describe, expect, it } from 'vitest'
import { ifname } from '../../src/kernel/nftables/datatypes.ts'
import { removeElements } from '../../src/kernel/nftables/objects.ts'
import { verdict } from '../../src/kernel/nftables/verdict.ts'
import { openPorts } from '../../src/plugin/ports.ts'
import { createFakeNode, delegated, type FakeNode, L2, L3, NETNS_2 } from '../fakes/node.ts'

/* The rule that checks the sources of all routed pods of a node: who makes it, and who removes it. */
const OFF = {
  ...L3,
  name: 'free',
  ipspoofchk: false,
  ipam: { ...L3.ipam, ranges: [[{ subnet: '10.9.0.0/24' }]] },
}
const SECOND = { containerId: 'c2', netns: NETNS_2 }

let node: FakeNode
beforeEach(() => {
  node = createFakeNode()
})

const hasRule = (): boolean => JSON.stringify(node.kernel.dump().nft).includes('pod-sources')
const restore = (): string[] => {
  const { features } = openPorts({ kernel: node.kernel, files: node.files, plugins: node.delegate.runner })
  return features.flatMap((feature) => feature.restore?.(() => undefined) ?? [])
}

describe('the checks of pods on a bridge', () => {
  const CHECKED = { ...L2, macspoofchk: true, ipspoofchk: true }
  const table = { family: 'bridge', name: 'bowline' } as const
  const nft = () => JSON.stringify(node.kernel.dump().nft)

  it('are made again by a process that stays, each, as long as its pod is there', () => {
    node.call('ADD', { config: CHECKED })
    node.call('ADD', { config: CHECKED, ...SECOND })
    const whole = nft()
    expect(restore()).toEqual([])
    const map = { table, name: 'macspoofchk', key: ifname, data: verdict }
    const [{ key = '' } = {}] = node.kernel.nftables.elements(map)
    node.kernel.nftables.apply([removeElements(map, { key })])
    expect(restore()).toEqual([expect.stringMatching(/^the MAC .* is not checked: the nftables element of/)])
    expect(nft()).toBe(whole)
    node.kernel.nftables.clear()
    expect(restore()).not.toEqual([])
    expect(nft()).toBe(whole)
    expect(restore()).toEqual([])
    node.call('DEL', { config: CHECKED, ...SECOND })
    node.call('DEL', { config: CHECKED })
    node.kernel.nftables.clear()
    expect(restore()).toEqual([])
  })

  it('are left to the plugin where the addresses are not known', () => {
    node.call('ADD', { config: delegated({ ...CHECKED, ipMasq: false }) })
    node.kernel.nftables.clear()
    expect(restore().join()).toMatch(/MAC/)
    expect(nft()).not.toContain('ipspoofchk')
  })
})

describe('the rule that checks the sources of pods', () => {
  it('comes with the first pod that is checked and goes with the last, whatever pods are not checked', () => {
    node.call('ADD', { config: OFF })
    expect(hasRule()).toBe(false)
    node.call('ADD', { config: L3, ...SECOND })
    expect(hasRule()).toBe(true)
    node.call('DEL', { config: L3, ...SECOND })
    expect(hasRule()).toBe(false)
    node.call('DEL', { config: OFF })
  })

  it('is made again by a process that stays, once, as long as a pod needs it', () => {
    expect(restore()).toEqual([])
    node.call('ADD', { config: { ...L3, ipMasq: false } })
    expect(restore()).toEqual([])
    node.kernel.nftables.apply([
      { op: 'flushChain', chain: { table: { family: 'inet', name: 'bowline' }, name: 'pod-sources' } },
    ])
    expect(restore()).toEqual(['the rule that checks the sources of pods is missing in table inet bowline'])
    expect(restore()).toEqual([])
    node.call('DEL', { config: L3 })
    expect(restore()).toEqual([])
    expect(hasRule()).toBe(false)
  })
})
