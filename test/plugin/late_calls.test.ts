import { describe, expect, it } from 'vitest'
import { Code, Fault } from '../../src/core/errors.ts'
import { deriveNames } from '../../src/core/names.ts'
import {
  createFakeNode,
  delegated,
  type FakeCall,
  type FakeNode,
  type FakePlugins,
  L2,
  L3,
  NETNS,
} from '../fakes/node.ts'

/*
 * What runtimes really do: calls that come late, twice, in the wrong order, with half of what they should have. In each
 * case the attachments that live must not notice.
 */
const MODES = [
  { mode: 'l3', config: L3 },
  { mode: 'l2', config: L2 },
]
const FOREIGN_MAC = '02:00:00:00:00:01'
const POD2 = '/var/run/netns/pod2'

function ipsOf({ json }: { json: Record<string, unknown> }): string[] {
  return ((json['ips'] ?? []) as { address: string }[]).map(({ address }) => address)
}

/** CHECK of an attachment from what its ADD printed. */
function checks(node: FakeNode, added: { json: Record<string, unknown> }, call: FakeCall = {}): unknown {
  const { config = L3 } = call
  return node.call('CHECK', { ...call, config: { ...config, prevResult: added.json } }).json
}

/** The config with a range of one address, so that the next pod must get that of the last one. */
function single<T extends typeof L3>(config: T): T {
  const ranges = [[{ subnet: '10.1.0.0/24', rangeStart: '10.1.0.7', rangeEnd: '10.1.0.7' }]]
  return { ...config, ipam: { ...config.ipam, ranges } }
}

describe.each(MODES)('in mode $mode', ({ config }) => {
  it('a DEL that comes after the address went to another pod leaves that pod alone', () => {
    const node = createFakeNode()
    node.kernel.makeNetns(POD2)
    const own = single(config)
    const first = node.call('ADD', { config: own })
    node.call('DEL', { config: own })
    const second = node.call('ADD', { containerId: 'c2', netns: POD2, config: own })
    expect(ipsOf(second)).toEqual(ipsOf(first))
    expect(node.call('DEL', { config: { ...own, prevResult: first.json } }).exitCode).toBe(0)
    expect(checks(node, second, { containerId: 'c2', netns: POD2, config: own })).toEqual({})
  })

  it('a DEL for another network leaves the attachment alone', () => {
    const node = createFakeNode()
    const added = node.call('ADD', { config })
    const other = { ...config, name: 'other' }
    expect(node.call('DEL', { config: other }).exitCode).toBe(0)
    expect(checks(node, added, { config })).toEqual({})
  })

  it('a second ADD is refused and leaves the attachment alone, also with the address asked for', () => {
    const node = createFakeNode()
    const added = node.call('ADD', { config })
    for (const args of ['', 'IP=10.1.0.2', 'IP=10.1.0.99']) {
      expect(node.call('ADD', { args, config }).json['code']).toBe(Code.interfaceExists)
      expect(checks(node, added, { config })).toEqual({})
    }
  })

  it('an ADD with an address that another pod has is refused, leaves nothing and the other pod alone', () => {
    const node = createFakeNode()
    node.kernel.makeNetns(POD2)
    const added = node.call('ADD', { config })
    const before = node.kernel.dump()
    const late = { containerId: 'c2', netns: POD2, args: 'IP=10.1.0.2', config }
    expect(node.call('ADD', late).json['code']).toBe(Code.addressInUse)
    expect(node.kernel.dump()).toEqual(before)
    expect(node.call('DEL', late).exitCode).toBe(0)
    expect(checks(node, added, { config })).toEqual({})
  })

  it.each(['', NETNS])('up to three DELs after a power cut, with CNI_NETNS %j, leave nothing', (netns) => {
    const node = createFakeNode()
    node.call('ADD', { config })
    node.kernel.rebootTo('boot-2')
    for (const time of [1, 2, 3]) {
      expect(node.call('DEL', { netns, config }), `DEL number ${time}`).toMatchObject({ exitCode: 0 })
      expect(node.residue(), `after DEL number ${time}`).toEqual([])
    }
  })

  it('a DEL without a record goes on when the kernel refuses a part of it, and says so', () => {
    const node = createFakeNode()
    node.call('ADD', { config })
    node.files.remove(
      `/var/lib/cni/bowline/net/${deriveNames({ network: 'net', containerId: 'c1', ifName: 'eth0' }).key}`,
    )
    node.refuse(/^remove link/, 'EIO')
    const { json } = node.call('DEL', { config })
    expect(json).toMatchObject({
      code: Code.incompleteRemoval,
      details: expect.stringContaining('remove link veth'),
    })
    // Nobody may get the addresses while the link has them.
    expect(node.residue().filter((what) => /networks\/net\//.test(what))).toHaveLength(2)
    expect(JSON.stringify(node.kernel.dump().nft)).not.toContain('c1 eth0')
    node.refuse(/^never$/, '')
    expect(node.call('DEL', { config }).exitCode).toBe(0)
    expect(node.residue()).toEqual([])
  })

  it('a DEL after a power cut leaves alone the pod that has the address by then', () => {
    const node = createFakeNode()
    const own = single(config)
    node.call('ADD', { config: own })
    node.kernel.rebootTo('boot-2')
    node.kernel.makeNetns(POD2)
    const second = node.call('ADD', { containerId: 'c2', netns: POD2, config: own })
    expect(second.exitCode).toBe(0)
    node.call('DEL', { netns: '', config: own })
    expect(checks(node, second, { containerId: 'c2', netns: POD2, config: own })).toEqual({})
  })

  it('a record of another boot, on another network with the same subnet, keeps no masquerading', () => {
    const node = createFakeNode()
    const own = delegated(config)
    node.call('ADD', { containerId: 'former', config: { ...own, name: 'other' } })
    node.kernel.rebootTo('boot-2')
    node.kernel.makeNetns(NETNS)
    expect(node.call('ADD', { config: own })).toMatchObject({ exitCode: 0 })
    expect(node.call('DEL', { config: own })).toMatchObject({ exitCode: 0 })
    expect(node.kernel.dump().nft).toEqual({})
  })

  it('a DEL after a power cut in which a delegate lost its leases leaves alone the pod that has the address by then', () => {
    const node = createFakeNode()
    const own = delegated(config)
    node.call('ADD', { config: own })
    node.kernel.rebootTo('boot-2')
    node.delegate.leases.clear()
    node.kernel.makeNetns(POD2)
    const second = node.call('ADD', { containerId: 'c2', netns: POD2, config: own })
    expect(node.call('DEL', { netns: '', config: own }).exitCode).toBe(0)
    expect(checks(node, second, { containerId: 'c2', netns: POD2, config: own })).toEqual({})
  })
})

describe('two networks that give the same address', () => {
  // Without gateways nothing else of the two can meet on the node.
  const red = single({ ...L2, name: 'red', bridge: 'red0', isGateway: false })
  const blue = { ...red, name: 'blue', bridge: 'blue0' }
  const late = { containerId: 'c2', netns: POD2, config: blue }

  function nodeWithRedPod(): { node: FakeNode; added: ReturnType<FakeNode['call']> } {
    const node = createFakeNode()
    node.kernel.makeNetns(POD2)
    return { node, added: node.call('ADD', { config: red }) }
  }

  it('refuse the second pod', () => {
    const { node, added } = nodeWithRedPod()
    const refused = node.call('ADD', late)
    expect(refused.json).toMatchObject({ code: Code.addressInUse })
    expect(refused.stdout).toContain('10.1.0.7 is in use on this node: c1 eth0 of network red has it')
    expect(node.call('DEL', late).exitCode).toBe(0)
    expect(checks(node, added, { config: red })).toEqual({})
  })

  it('give it to the second pod when the first is gone without a DEL, whose late DEL then harms nothing', () => {
    const { node } = nodeWithRedPod()
    node.kernel.removeNetns(NETNS)
    const second = node.call('ADD', late)
    expect(second).toMatchObject({ exitCode: 0 })
    expect(node.call('DEL', { config: red }).exitCode).toBe(0)
    expect(checks(node, second, late)).toEqual({})
  })

  it('give it to the second pod when no record of the first is left', () => {
    const { node } = nodeWithRedPod()
    for (const name of node.files.list('/var/lib/cni/bowline/red')) {
      node.files.remove(`/var/lib/cni/bowline/red/${name}`)
    }
    expect(node.call('ADD', late)).toMatchObject({ exitCode: 0 })
  })
})

function nodeWithForeignEth0(): FakeNode {
  const node = createFakeNode()
  const netns = node.kernel.openNetns(NETNS)
  const mac = FOREIGN_MAC as never
  node.kernel.host().apply([
    {
      op: 'createVeth',
      host: { name: 'foreign0', mac },
      peer: { name: 'eth0', mac },
      peerNetns: netns,
    },
  ])
  netns.close()
  return node
}

describe('the namespace of the node in the place of a pod’s', () => {
  const netns = '/proc/1/ns/net'

  it.each(MODES)('is refused by ADD before any change (mode $mode)', ({ config }) => {
    const node = createFakeNode()
    node.kernel.nameHost(netns)
    const before = node.kernel.dump()
    expect(node.call('ADD', { netns, config }).json['code']).toBe(Code.invalidNetns)
    expect(node.kernel.dump()).toEqual(before)
    expect(node.residue()).toEqual([])
  })

  it('loses no interface by a DEL, whatever speaks for it', () => {
    const node = nodeWithForeignEth0()
    node.kernel.nameHost(netns)
    const prevResult = { interfaces: [{ name: 'foreign0', sandbox: netns }] }
    const config = { ...L2, prevResult }
    expect(node.call('DEL', { netns, ifName: 'foreign0', config }).exitCode).toBe(0)
    expect(node.kernel.host().link({ name: 'foreign0' })).toBeDefined()
  })
})

describe('a delegate', () => {
  const config = { ...L3, ipam: { type: 'other-ipam' } }
  const result = { ips: [{ address: '10.1.0.5/24', gateway: '10.1.0.1' }] }

  /** Counts what it holds; `fails` is the command that it refuses. */
  function delegate(fails = ''): { plugins: FakePlugins; held: Set<string>; calls: string[] } {
    const held = new Set<string>()
    const calls: string[] = []
    const plugins: FakePlugins = {
      'other-ipam': (env) => {
        const { CNI_COMMAND = '', CNI_CONTAINERID = '' } = env
        calls.push(CNI_COMMAND === 'GC' ? 'GC' : `${CNI_COMMAND} ${CNI_CONTAINERID}`)
        if (CNI_COMMAND === 'ADD') held.add(CNI_CONTAINERID)
        if (CNI_COMMAND === fails) throw new Fault('no', { code: 11 })
        if (CNI_COMMAND === 'DEL') held.delete(CNI_CONTAINERID)
        return CNI_COMMAND === 'ADD' ? result : {}
      },
    }
    return { plugins, held, calls }
  }

  it('whose plugin is gone makes DEL fail, after all else is removed, until it is back', () => {
    const { plugins, held } = delegate()
    const node = createFakeNode({ plugins })
    node.call('ADD', { config })
    const { 'other-ipam': plugin } = plugins
    delete plugins['other-ipam']
    const refused = node.call('DEL', { config })
    expect(refused.json).toMatchObject({ code: Code.incompleteRemoval })
    expect(refused.stdout).toContain('no plugin')
    // Nothing that the config may say would help.
    expect(refused.json['details']).toContain('Put other-ipam back')
    const gc = node.call('GC', { config: { ...L3, 'cni.dev/valid-attachments': [] } })
    expect(gc.json['details']).toMatch(/Put other-ipam back(?!.*ipam\.type)/)
    expect(node.kernel.host().links()).toHaveLength(1)
    if (plugin) plugins['other-ipam'] = plugin
    expect(node.call('DEL', { config }).exitCode).toBe(0)
    expect(held.size).toBe(0)
    expect(node.residue()).toEqual([])
  })

  it.each(['DEL', 'GC'])(
    'gave the address to another pod since a DEL was killed: the %s that ends it harms nobody',
    (command) => {
      for (const { config } of MODES) {
        const node = createFakeNode()
        const own = delegated(config)
        node.call('ADD', { config: own })
        node.refuse(/^remove \S*\/bowline\/net\//, 'EIO')
        node.call('DEL', { config: own })
        node.refuse(/^never$/, '')
        expect([...node.delegate.leases]).toEqual([])
        node.kernel.makeNetns(POD2)
        const second = node.call('ADD', { containerId: 'c2', netns: POD2, config: own })
        const valid = { 'cni.dev/valid-attachments': [{ containerID: 'c2', ifname: 'eth0' }] }
        const ended = node.call(command, { config: command === 'GC' ? { ...own, ...valid } : own })
        expect(ended.exitCode).toBe(0)
        expect(checks(node, second, { containerId: 'c2', netns: POD2, config: own })).toEqual({})
      }
    },
  )

  it('that fails to ADD gets a DEL before the ADD fails with its code', () => {
    const { plugins, held, calls } = delegate('ADD')
    const node = createFakeNode({ plugins })
    expect(node.call('ADD', { config }).json['code']).toBe(11)
    expect(calls).toEqual(['ADD c1', 'DEL c1'])
    expect(held.size).toBe(0)
    expect(node.residue()).toEqual([])
  })

  it('that can not be started is not asked for a DEL, and nothing is left', () => {
    const node = createFakeNode({ plugins: { 'other-ipam': 'ENOEXEC' } })
    const { json } = node.call('ADD', { config })
    expect(json['msg']).toBe('start plugin /opt/cni/bin/other-ipam: ENOEXEC')
    expect(node.residue()).toEqual([])
    expect(node.call('DEL', { config: L3 })).toMatchObject({ exitCode: 0 })
  })

  it('that fails to ADD and then can not be started still owes us its DEL', () => {
    const { plugins, held } = delegate('ADD')
    const { 'other-ipam': refusing } = plugins
    plugins['other-ipam'] = (env, stdin) => {
      plugins['other-ipam'] = 'ENOEXEC'
      return typeof refusing === 'function' ? refusing(env, stdin) : {}
    }
    const node = createFakeNode({ plugins })
    expect(node.call('ADD', { config }).json['msg']).toContain('the rollback failed in part: start plugin')
    expect(node.call('DEL', { config: L3 }).json).toMatchObject({ code: Code.incompleteRemoval })
    if (refusing) plugins['other-ipam'] = refusing
    expect(node.call('DEL', { config: L3 })).toMatchObject({ exitCode: 0 })
    expect(held.size).toBe(0)
    expect(node.residue()).toEqual([])
  })

  it('gets its DEL by the record, whatever the config says by then', () => {
    const { plugins, held } = delegate()
    const node = createFakeNode({ plugins })
    node.call('ADD', { config })
    expect(node.call('DEL', { config: { ...L3, ipam: 'broken' } }).exitCode).toBe(0)
    expect(held.size).toBe(0)
    expect(node.residue()).toEqual([])
  })

  it('that knows no GC gets a DEL for each attachment that is not valid, and is asked for GC all the same', () => {
    const { plugins, held, calls } = delegate()
    const node = createFakeNode({ plugins })
    node.call('ADD', { config })
    calls.length = 0
    expect(node.call('GC', { config: { ...config, 'cni.dev/valid-attachments': [] } })).toMatchObject({
      exitCode: 0,
    })
    expect(calls).toEqual(['DEL c1', 'GC'])
    expect(held.size).toBe(0)
    expect(node.residue()).toEqual([])
  })
})
