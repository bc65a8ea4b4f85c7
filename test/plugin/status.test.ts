import { describe, expect, it } from 'vitest'
import { Fault } from '../../src/core/errors.ts'
import { deriveNames } from '../../src/core/names.ts'
import { createFakeNode, type FakeNode, L2, L3, NETNS } from '../fakes/node.ts'

const LEASES = '/var/lib/cni/networks/net'
/** A range of two addresses. */
const SMALL = {
  ...L3,
  ipam: {
    ...L3.ipam,
    ranges: [[{ subnet: '10.1.0.0/24', rangeStart: '10.1.0.7', rangeEnd: '10.1.0.8' }]],
  },
}

function addTwo(node: FakeNode, config: object = SMALL): void {
  for (const containerId of ['c1', 'c2']) {
    const netns = `${NETNS}-${containerId}`
    node.kernel.makeNetns(netns)
    expect(node.call('ADD', { containerId, netns, config }), containerId).toMatchObject({ exitCode: 0 })
  }
}

describe.each([
  ['the plugin', 'bowline'],
  ['the IPAM plugin', 'bowline-ipam'],
])('STATUS of %s', (_, calledAs) => {
  it('says yes while every lock is held, without waiting for one', () => {
    const node = createFakeNode()
    node.call('ADD')
    const { key } = deriveNames({ network: 'net', containerId: 'c1', ifName: 'eth0' })
    node.files.lock(`${LEASES}/lock`, 0)
    node.files.lock(`/var/lib/cni/bowline/.locks/${key.slice(0, 3)}`, 0)
    expect(node.call('STATUS', { calledAs })).toMatchObject({ exitCode: 0 })
    expect(node.files.waitedMs).toBe(0)
  })

  it.each([
    ['the records can not be written', /^probe .*bowline$/, 'ENOSPC'],
    ['the leases can not be written', /^probe .*networks.net$/, 'EROFS'],
  ])('answers 50 when %s', (_, pattern, errno) => {
    const node = createFakeNode()
    node.refuse(pattern, errno)
    const { json } = node.call('STATUS', { calledAs })
    expect(json).toMatchObject({ code: 50 })
    expect(JSON.stringify(json)).toContain(errno)
  })

  it('answers 50 to a configuration that ADD refuses, and names the key', () => {
    const ipam = { ...L3.ipam, ranges: [[{ subnet: '10.1.0.5/24' }]] }
    const { json } = createFakeNode().call('STATUS', { calledAs, config: { ...L3, ipam } })
    expect(json).toMatchObject({ code: 50 })
    expect(JSON.stringify(json)).toContain('ipam.ranges[0][0].subnet')
  })

  it.each([
    ['a version that is too old', { ...L3, cniVersion: '1.0.0' }, 1],
    ['a version that nobody knows', { ...L3, cniVersion: '7.0.0' }, 1],
  ])('keeps the code for %s', (_, config, code) => {
    expect(createFakeNode().call('STATUS', { calledAs, config }).json).toMatchObject({ code })
  })

  it('does not count attachments of another boot as held', () => {
    const node = createFakeNode()
    addTwo(node)
    node.kernel.rebootTo('boot-2')
    expect(node.call('STATUS', { calledAs, config: SMALL })).toMatchObject({ exitCode: 0 })
  })
})

describe('STATUS of the plugin', () => {
  it.each([
    ['links can not be changed', L2, /remove link bowline.status/, 'EPERM', 'CAP_NET_ADMIN'],
    ['nftables is not there', L3, /generation of the ruleset/, 'EOPNOTSUPP', 'modprobe nf_tables'],
    [
      'nftables is not there for the MAC check',
      { ...L2, ipMasq: false, macspoofchk: true },
      /generation of the ruleset/,
      'EOPNOTSUPP',
      'remove "macspoofchk"',
    ],
  ])('answers 50 when %s, with the hint', (_, config, pattern, errno, hint) => {
    const node = createFakeNode()
    node.refuse(pattern, errno)
    const { json } = node.call('STATUS', { config })
    expect(json).toMatchObject({ code: 50 })
    expect(json['details']).toContain(hint)
  })

  it('needs no nftables without masquerading', () => {
    const node = createFakeNode()
    node.refuse(/generation of the ruleset/, 'EOPNOTSUPP')
    expect(node.call('STATUS', { config: { ...L3, ipMasq: false } })).toMatchObject({ exitCode: 0 })
  })

  const delegating = { ...L3, ipam: { type: 'other-ipam' } }

  it.each([
    [50, 50],
    [51, 51],
    [999, 50],
    [11, 50],
  ])('answers what a delegate says with code %i with code %i', (code, answered) => {
    const node = createFakeNode({
      plugins: {
        'other-ipam': () => {
          throw new Fault('the pool of the cluster is away', { code })
        },
      },
    })
    const { json } = node.call('STATUS', { config: delegating })
    expect(json).toMatchObject({
      code: answered,
      msg: expect.stringContaining('pool of the cluster is away'),
    })
  })

  it('asks its delegate, and answers 50 when it is not installed', () => {
    const asked: unknown[] = []
    const node = createFakeNode({
      plugins: { 'other-ipam': ({ CNI_COMMAND }) => ({ asked: asked.push(CNI_COMMAND) }) },
    })
    expect(node.call('STATUS', { config: delegating })).toMatchObject({ exitCode: 0 })
    expect(asked).toEqual(['STATUS'])
    expect(createFakeNode().call('STATUS', { config: delegating }).json).toMatchObject({ code: 50 })
  })
})
