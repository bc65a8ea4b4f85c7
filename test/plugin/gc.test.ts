import { describe, expect, it } from 'vitest'
import { Code } from '../../src/core/errors.ts'
import { deriveNames } from '../../src/core/names.ts'
import { createFakeNode, type FakeNode, L2, L3, NETNS } from '../fakes/node.ts'

/*
 * GC on a node whose store has suffered: records are lost or damaged, and what they spoke of is still there. Of two
 * pods on network `net`, c1 is not valid any more and c2 lives; c3 lives on network `other`.
 */
const LEASES = '/var/lib/cni/networks/net'
const RECORDS = '/var/lib/cni/bowline'
const VALID = [{ containerID: 'c2', ifname: 'eth0' }]
const MODES = [
  { mode: 'l3', config: L3 },
  { mode: 'l2', config: L2 },
  { mode: 'l2 with macspoofchk', config: { ...L2, macspoofchk: true } },
]

function withPods(config: typeof L3): FakeNode {
  const node = createFakeNode()
  const ranges = [[{ subnet: '10.9.0.0/24' }], [{ subnet: 'fd00:9::/64' }]]
  const bridge = config.mode === 'l2' ? { bridge: 'br1' } : {}
  const other = { ...config, ...bridge, name: 'other', ipam: { ...config.ipam, ranges } }
  for (const [containerId, one] of [
    ['c1', config],
    ['c2', config],
    ['c3', other],
  ] as const) {
    node.kernel.makeNetns(netnsOf(containerId))
    const added = node.call('ADD', { containerId, netns: netnsOf(containerId), config: one })
    expect(added).toMatchObject({ exitCode: 0 })
  }
  return node
}

function gc(node: FakeNode, config: object, valid: unknown = VALID) {
  return node.call('GC', { config: { ...config, 'cni.dev/valid-attachments': valid } })
}

/** What is on the node of a container, in words. */
function partsOf(node: FakeNode, containerId: string, network = 'net', ifName = 'eth0'): string[] {
  const { key, hostIfName } = deriveNames({ network, containerId, ifName })
  const { nft } = node.kernel.dump()
  const isChecked = JSON.stringify(nft['bridge bowline'] ?? {}).includes(`${containerId} ${ifName}`)
  const leases = Object.values(node.files.dump()).filter((text) => text === `${containerId}\r\n${ifName}`)
  return [
    ...(node.kernel.host().link({ name: hostIfName }) ? ['link'] : []),
    ...(isChecked ? ['check'] : []),
    ...(leases.length > 0 ? ['leases'] : []),
    ...(node.files.list(`${RECORDS}/${network}`).includes(key) ? ['record'] : []),
  ]
}

function wholeOf(config: object): string[] {
  const check = 'macspoofchk' in config ? ['check'] : []
  return ['link', ...check, 'leases', 'record']
}

function recordOf(containerId: string, network = 'net'): string {
  return `${RECORDS}/${network}/${deriveNames({ network, containerId, ifName: 'eth0' }).key}`
}

describe.each(MODES)('GC in mode $mode', ({ config }) => {
  it.each(['ADD', 'DEL', 'GC'])('changes nothing of a pod that a later release has made: %s', (command) => {
    const node = withPods(config)
    node.files.replace(recordOf('c1'), '{"version":9}')
    const call = { containerId: 'c1', netns: netnsOf('c1'), config }
    const answer = command === 'GC' ? gc(node, config) : node.call(command, call)
    expect(answer).toMatchObject({ exitCode: 1, stdout: expect.stringContaining('later release') })
    expect(partsOf(node, 'c1')).toEqual(wholeOf(config))
  })

  it('leaves what a pod that a later release has made may share with others, when these go', () => {
    const node = withPods(config)
    node.files.replace(recordOf('c1'), '{"version":9}')
    const { nft } = node.kernel.dump()
    const del = { containerId: 'c3', netns: netnsOf('c3'), config: { ...config, name: 'other' } }
    expect(node.call('DEL', del)).toMatchObject({ exitCode: 0 })
    expect(node.kernel.dump().nft['inet bowline']).toEqual(nft['inet bowline'])
  })

  it('takes the interface of a valid container that is not valid itself, also when its record is lost', () => {
    for (const isLost of [false, true]) {
      const node = withPods(config)
      const second = { containerId: 'c2', ifName: 'eth1' }
      expect(node.call('ADD', { ...second, netns: netnsOf('c2'), config })).toMatchObject({ exitCode: 0 })
      expect(partsOf(node, 'c2', 'net', 'eth1')).toEqual(wholeOf(config))
      if (isLost) node.files.remove(`${RECORDS}/net/${deriveNames({ network: 'net', ...second }).key}`)
      expect(gc(node, config)).toMatchObject({ exitCode: 0 })
      expect(partsOf(node, 'c2', 'net', 'eth1')).toEqual([])
      expect(partsOf(node, 'c2')).toEqual(wholeOf(config))
    }
  })

  it('leaves a valid pod alone whose record is lost, damaged or of a later release', () => {
    const lost = withPods(config)
    lost.files.remove(recordOf('c2'))
    expect(gc(lost, config)).toMatchObject({ exitCode: 0 })
    expect(partsOf(lost, 'c2')).toEqual(wholeOf(config).slice(0, -1))
    const damaged = withPods(config)
    for (const text of ['', '{"version":9}']) {
      damaged.files.replace(recordOf('c2'), text)
      expect(gc(damaged, config)).toMatchObject({ exitCode: 0 })
      expect(partsOf(damaged, 'c2')).toEqual(wholeOf(config))
    }
  })

  it('finds all of it when the whole store is lost', () => {
    const node = withPods(config)
    for (const path of Object.keys(node.files.dump())) {
      if (path.startsWith(`${RECORDS}/net/`) && !path.endsWith('/')) node.files.remove(path)
      if (path.startsWith(`${LEASES}/`) && !path.endsWith('/')) node.files.remove(path)
    }
    expect(gc(node, config, [])).toMatchObject({ exitCode: 0 })
    expect([...partsOf(node, 'c1'), ...partsOf(node, 'c2')]).toEqual([])
    expect(partsOf(node, 'c3', 'other')).toEqual(wholeOf(config))
  })

  it.each([null, []].map((valid) => [valid]))(
    'takes %j for no valid attachment, and leaves nothing',
    (valid) => {
      const node = createFakeNode()
      node.call('ADD', { config })
      expect(gc(node, config, valid)).toMatchObject({ exitCode: 0 })
      expect(node.residue()).toEqual([])
    },
  )

  it.each([
    ['absent', undefined],
    ['no list', {}],
    ['a list with half an item', [{ containerID: 'c2' }]],
  ])('removes nothing when the list is %s', (_, valid) => {
    const node = withPods(config)
    const answer = node.call('GC', { config: { ...config, 'cni.dev/valid-attachments': valid } })
    expect(answer.json['code']).toBe(Code.invalidConfig)
    for (const containerId of ['c1', 'c2']) expect(partsOf(node, containerId)).toEqual(wholeOf(config))
  })

  it('takes nothing that somebody is at work on', () => {
    const node = withPods(config)
    const { key } = deriveNames({ network: 'net', containerId: 'c1', ifName: 'eth0' })
    const lock = node.files.lock(`${RECORDS}/.locks/${key.slice(0, 3)}`, 0)
    expect(gc(node, config)).toMatchObject({ exitCode: 0 })
    expect(partsOf(node, 'c1')).toEqual(wholeOf(config))
    node.files.replace(recordOf('c1'), '')
    gc(node, config)
    expect(partsOf(node, 'c1')).toContain('link')
    lock.release()
    gc(node, config)
    expect(partsOf(node, 'c1')).toEqual([])
  })

  it('goes on after an error, reports it, and the next one finishes', () => {
    const node = withPods(config)
    node.refuse(/^remove link/, 'EBUSY')
    const { json } = gc(node, config, [])
    expect(json).toMatchObject({
      code: Code.incompleteRemoval,
      details: expect.stringContaining('Call GC again'),
    })
    // Both errors are told, and both pods have lost all that could be taken; nobody may get the addresses of the links.
    for (const containerId of ['c1', 'c2']) {
      expect(json['msg']).toContain(containerId)
      expect(partsOf(node, containerId)).toEqual(['link', 'leases', 'record'])
    }
    node.refuse(/^never$/, '')
    expect(gc(node, config, [])).toMatchObject({ exitCode: 0 })
    expect([...partsOf(node, 'c1'), ...partsOf(node, 'c2')]).toEqual([])
  })
})

describe('GC', () => {
  it('does not take a link that only looks like ours', () => {
    const node = createFakeNode()
    const peerNetns = node.kernel.openNetns(NETNS)
    const mac = '02:00:00:00:00:01' as never
    const { hostIfName } = deriveNames({ network: 'other', containerId: 'x', ifName: 'eth0' })
    const looks = [
      ['renamed', 'bowline net x eth0'],
      [hostIfName, 'bowline net2 x eth0'],
      ['veth0123456789a', 'somebody else'],
    ] as const
    for (const [i, [name, alias]] of looks.entries()) {
      node.kernel.host().apply([
        { op: 'createVeth', host: { name, mac }, peer: { name: `p${i}`, mac }, peerNetns },
        { op: 'setLink', link: { name }, alias },
      ])
    }
    expect(gc(node, L3, [])).toMatchObject({ exitCode: 0 })
    expect(node.kernel.host().links()).toHaveLength(4)
  })

  it('leaves the masquerading that an ADD needs which comes at any step of it', () => {
    // The IPAM of another program keeps no lock of ours: c2 gets the address that c1 lost, in the middle of a GC.
    const ipam = { 'other-ipam': () => ({ ips: [{ address: '10.1.0.5/24', gateway: '10.1.0.1' }] }) }
    const config = { ...L3, ipam: { type: 'other-ipam' } }
    for (let step = 1; step < 400; step++) {
      const node = createFakeNode({ plugins: ipam })
      node.kernel.makeNetns(netnsOf('c2'))
      node.call('ADD', { config })
      node.files.remove(recordOf('c1'))
      node.kernel.removeNetns(NETNS)
      let added: ReturnType<FakeNode['call']> | undefined
      const call = { containerId: 'c2', netns: netnsOf('c2'), config }
      node.interruptAt(step, () => {
        added = node.call('ADD', call)
      })
      gc(node, config, VALID)
      if (!added) return
      const prevResult = added.json
      expect(
        node.call('CHECK', { ...call, config: { ...config, prevResult } }),
        `ADD at step ${step}`,
      ).toMatchObject({ exitCode: 0 })
    }
    throw new Error('too many steps')
  })

  it('harms no pod that gets the address of one whose DEL comes at any step of it', () => {
    const config = single(L3)
    const live = { containerId: 'c2', netns: netnsOf('c2'), config }
    for (let step = 1; step < 400; step++) {
      const node = createFakeNode()
      node.kernel.makeNetns(netnsOf('c2'))
      node.call('ADD', { config })
      let added: ReturnType<FakeNode['call']> | undefined
      node.interruptAt(step, () => {
        // Where the GC holds a lock both say "try again later", and the runtime does.
        node.call('DEL', { config })
        added = node.call('ADD', live)
      })
      gc(node, config)
      if (!added) return
      if (added.exitCode !== 0) added = node.call('ADD', live)
      const checked = { ...live, config: { ...config, prevResult: added.json } }
      expect(node.call('CHECK', checked), `DEL and ADD at step ${step}`).toMatchObject({ exitCode: 0 })
    }
    throw new Error('too many steps')
  })

  it('frees a lease of another program whose container is gone, and keeps one whose container lives', () => {
    const node = createFakeNode()
    node.files.ensureDirectory(LEASES)
    node.files.create(`${LEASES}/10.1.0.50`, 'dead\r\neth0')
    node.files.create(`${LEASES}/10.1.0.51`, 'c2')
    gc(node, L3)
    expect(node.files.list(LEASES)).not.toContain('10.1.0.50')
    expect(node.files.list(LEASES)).toContain('10.1.0.51')
  })

  it('with the last check of a hardware address removes what all checks share, though other pods stay', () => {
    const node = withPods(L2)
    const call = { containerId: 'c4', netns: netnsOf('c4'), config: { ...L2, macspoofchk: true } }
    node.kernel.makeNetns(call.netns)
    expect(node.call('ADD', call)).toMatchObject({ exitCode: 0 })
    node.files.remove(recordOf('c4'))
    expect(gc(node, L2)).toMatchObject({ exitCode: 0 })
    expect(node.kernel.dump().nft).not.toHaveProperty('bridge bowline')
  })

  it('as an IPAM plugin frees addresses, and touches no link', () => {
    const node = createFakeNode()
    const calledAs = 'bowline-ipam'
    node.call('ADD', { calledAs })
    node.call('ADD', { calledAs, containerId: 'c2' })
    node.call('ADD', { calledAs: 'bowline', containerId: 'c3' })
    node.files.create(`${LEASES}/10.1.0.77`, 'stray\r\neth0')
    const config = { ...L3, 'cni.dev/valid-attachments': VALID }
    expect(node.call('GC', { calledAs, config })).toMatchObject({ exitCode: 0 })
    expect(partsOf(node, 'c1')).toEqual([])
    expect(partsOf(node, 'stray')).toEqual([])
    expect(partsOf(node, 'c2')).toEqual(['leases', 'record'])
    expect(partsOf(node, 'c3')).toEqual(wholeOf(L3))
  })
})

/** The config with a range of one address, so that the next pod must get that of the last one. */
function single(config: typeof L3): typeof L3 {
  const ranges = [[{ subnet: '10.1.0.0/24', rangeStart: '10.1.0.7', rangeEnd: '10.1.0.7' }]]
  return { ...config, ipam: { ...config.ipam, ranges, routes: [{ dst: '0.0.0.0/0' }] } }
}

function netnsOf(containerId: string): string {
  return `/var/run/netns/${containerId}`
}
