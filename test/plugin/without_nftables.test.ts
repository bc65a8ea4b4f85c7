import { describe, expect, it } from 'vitest'
import { createFakeNode, L2, L3, NETNS, NETNS_2 } from '../fakes/node.ts'

/*
 * A kernel that has no nftables holds no rule of ours. Pods that need none come and go; for those that do, ADD says what
 * the kernel lacks.
 */
const PLAIN = [
  { mode: 'l3', config: { ...L3, ipMasq: false } },
  { mode: 'l2', config: { ...L2, ipMasq: false } },
]

const NEEDS = [
  { key: 'ipMasq', config: L3 },
  { key: 'ipMasq', config: L2 },
  { key: 'macspoofchk', config: { ...L2, ipMasq: false, macspoofchk: true } },
]

describe.each(PLAIN)('without nftables in the kernel, in mode $mode', ({ config }) => {
  it('a pod comes, passes CHECK and goes', () => {
    const node = createFakeNode({ nftables: false })
    expect(node.call('STATUS', { config })).toMatchObject({ exitCode: 0 })
    const { json: prevResult, exitCode } = node.call('ADD', { config })
    expect(exitCode).toBe(0)
    expect(node.call('CHECK', { config: { ...config, prevResult } })).toMatchObject({ exitCode: 0 })
    expect(node.call('DEL', { config })).toMatchObject({ exitCode: 0 })
    expect(node.residue()).toEqual([])
  })

  it.each([NETNS, ''])('DEL of what nobody knows succeeds, with CNI_NETNS %j', (netns) => {
    const node = createFakeNode({ nftables: false })
    expect(node.call('DEL', { config, netns })).toMatchObject({ exitCode: 0, stdout: '' })
  })

  it('GC takes what its list does not have', () => {
    const node = createFakeNode({ nftables: false })
    node.kernel.makeNetns(NETNS_2)
    node.call('ADD', { config })
    node.call('ADD', { config, containerId: 'c2', netns: NETNS_2 })
    expect(node.call('GC', { config: { ...config, 'cni.dev/valid-attachments': [] } })).toMatchObject({
      exitCode: 0,
    })
    expect(node.residue()).toEqual([])
  })
})

describe.each(NEEDS)('without nftables in the kernel, "$key" in mode $config.mode', ({ key, config }) => {
  it('is refused by ADD, which leaves the node as it was', () => {
    const node = createFakeNode({ nftables: false })
    const before = node.snapshot()
    const { json, exitCode } = node.call('ADD', { config })
    expect(exitCode).toBe(1)
    expect(JSON.stringify(json)).toContain('EOPNOTSUPP')
    expect(JSON.stringify(json)).not.toContain('rollback')
    expect(node.snapshot()).toEqual(before)
    expect(node.call('DEL', { config })).toMatchObject({ exitCode: 0 })
  })

  it('is told by STATUS', () => {
    const { json } = createFakeNode({ nftables: false }).call('STATUS', { config })
    expect(json).toMatchObject({ code: 50 })
    expect(json['msg']).toContain(`the key "${key}" needs`)
    expect(json['details']).toContain('modprobe nf_tables')
  })
})
