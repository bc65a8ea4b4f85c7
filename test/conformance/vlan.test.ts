import { describe, expect, it } from 'vitest'
import {
  type Case,
  conformUnrecorded,
  namesOf,
  type Subject,
  type Version,
  versionsFrom,
} from '../support/conformance/cases.ts'
import { SUITE } from '../support/conformance/names.ts'
import {
  add,
  answersAtOnce,
  bridged,
  type Config,
  createPod,
  done,
  ipamOf,
  leftovers,
  NO_LEFTOVERS,
  reaches,
  refused,
  useNode,
} from '../support/conformance/node.ts'
import { run } from '../support/node/private_namespaces.ts'
import { addressesOf, link } from '../support/node/sandbox.ts'

// VLANs of bridge ports. They need a kernel with VLAN filtering, and no other tool than ip and bridge.
useNode()

/** A bridged network without addresses. */
function plain(subject: Subject, version: Version, more: Record<string, unknown>): Config {
  return bridged(subject, version, { ipam: {}, isGateway: false, ...more })
}

type PortVlan = { readonly vlan: number; readonly vlanEnd?: number; readonly flags?: readonly string[] }

/** `100 PVID untagged`, `200-210`: the VLANs of a port, in the words of the tool bridge. */
function vlansOf(port: string): string[] {
  const shown: { vlans: PortVlan[] }[] = JSON.parse(run(`bridge -j -compressvlans vlan show dev ${port}`))
  return (shown[0]?.vlans ?? []).map(({ vlan, vlanEnd, flags = [] }) =>
    [
      vlanEnd ? `${vlan}-${vlanEnd}` : `${vlan}`,
      ...flags.map((flag) => flag.replace('Egress Untagged', 'untagged')),
    ].join(' '),
  )
}

async function vlansAfterAdd(config: Config): Promise<string[]> {
  const { interfaces } = await add(config, createPod())
  return vlansOf(interfaces?.[1]?.name ?? '')
}

const TRUNK = [{ id: 101 }, { minID: 200, maxID: 210 }]

const VLANS: readonly Case[] = [
  {
    id: '19',
    title: 'vlan is the one VLAN of the port, without a tag',
    versions: versionsFrom('0.3.0'),
    expectReference: 'passes',
    async run(subject, version) {
      expect(await vlansAfterAdd(plain(subject, version, { vlan: 100 }))).toEqual(['100 PVID untagged'])
      expect(run('ip -d link show cni0')).toContain('vlan_filtering 1')
    },
  },
  {
    id: '19b',
    title: 'vlanTrunk are tagged VLANs of the port, beside VLAN 1 without a tag',
    expectReference: 'passes',
    async run(subject, version) {
      expect(await vlansAfterAdd(plain(subject, version, { vlanTrunk: TRUNK }))).toEqual([
        '1 PVID untagged',
        '101',
        '200-210',
      ])
    },
  },
  {
    id: '19c',
    title: 'vlan and vlanTrunk together: one without a tag, the others with',
    expectReference: 'passes',
    async run(subject, version) {
      const config = plain(subject, version, { vlan: 100, vlanTrunk: TRUNK })
      expect(await vlansAfterAdd(config)).toEqual(['100 PVID untagged', '101', '200-210'])
    },
  },
  {
    id: '19d',
    title: 'preserveDefaultVlan keeps VLAN 1 on the port',
    expectReference: 'passes',
    async run(subject, version) {
      const config = plain(subject, version, { vlan: 100, preserveDefaultVlan: true })
      expect((await vlansAfterAdd(config)).map((one) => one.replace(/ .*/, ''))).toEqual(['1', '100'])
    },
  },
  {
    id: '19e',
    title: 'the gateway of a VLAN is on a link of its own, which the result names and the pod reaches',
    versions: versionsFrom('0.3.0'),
    expectReference: 'passes',
    async run(subject, version) {
      const pod = createPod()
      const config = bridged(subject, version, {
        vlan: 100,
        isDefaultGateway: true,
        ipam: { ...ipamOf(subject), routes: [] },
      })
      const { interfaces = [], ips } = await add(config, pod)
      expect(interfaces.map(({ name }) => name)).toEqual(['cni0', expect.any(String), 'eth0', 'cni0.100'])
      expect(ips).toMatchObject([{ address: '10.1.0.2/24', gateway: '10.1.0.1', interface: 2 }])
      expect(await addressesOf('cni0.100')).toEqual(['10.1.0.1/24'])
      expect(await addressesOf('cni0')).toEqual([])
      expect(await reaches('10.1.0.1', pod)).toBe(true)
      await done('DEL', config, pod)
      expect((await leftovers()).leases).toEqual([])
    },
  },
  {
    id: '19f',
    title: 'pods of one VLAN reach each other, and those of another do not',
    expectReference: 'passes',
    async run(subject, version) {
      const [a, b, c] = [createPod('a'), createPod('b'), createPod('c')]
      const config = bridged(subject, version, { isGateway: false, ipam: { ...ipamOf(subject), routes: [] } })
      for (const pod of [a, b]) await add({ ...config, vlan: 100 }, pod)
      await add({ ...config, vlan: 200 }, c)
      expect(await reaches('10.1.0.3', a)).toBe(true)
      expect(await answersAtOnce('10.1.0.4', a)).toBe(false)
    },
  },
  {
    id: '19g',
    title: 'a pod with a trunk speaks to a pod of one of its VLANs with a tag',
    expectReference: 'passes',
    async run(subject, version) {
      const [trunk, access] = [createPod('trunk'), createPod('access')]
      await add(plain(subject, version, { vlanTrunk: TRUNK }), trunk)
      await add(plain(subject, version, { vlan: 205 }), access)
      run(`ip -n trunk link add link eth0 name eth0.205 type vlan id 205
        ip -n trunk address add 10.9.0.1/24 dev eth0.205; ip -n trunk link set eth0.205 up
        ip -n access address add 10.9.0.2/24 dev eth0`)
      expect(await reaches('10.9.0.2', trunk)).toBe(true)
    },
  },
  {
    id: '19h',
    title: 'passes CHECK right after ADD, and DEL leaves nothing of the pod',
    versions: versionsFrom('0.4.0'),
    expectReference: 'passes',
    async run(subject, version) {
      const pod = createPod()
      const config = bridged(subject, version, { vlan: 100, ipMasq: true })
      const prevResult = await add(config, pod)
      await done('CHECK', { ...config, prevResult }, pod)
      await done('DEL', { ...config, prevResult }, pod)
      const { links, ...rest } = await leftovers('10.1.0.2')
      // What all pods of the VLAN share stays: the gateway's link, which is a pair of them in the reference.
      expect(links.filter((name) => !name.startsWith('cni0.')).length).toBeLessThanOrEqual(1)
      expect({ ...rest, links: [] }).toEqual(NO_LEFTOVERS)
    },
  },
  {
    id: '19i',
    title: 'switches VLAN filtering on for a bridge that is there without it',
    expectReference: { fails: 'only a bridge that it makes gets VLAN filtering', at: /filtering is on/ },
    async run(subject, version) {
      run('ip link add cni0 type bridge')
      await add(plain(subject, version, { vlan: 100 }), createPod())
      expect(run('ip -d link show cni0'), 'filtering is on').toContain('vlan_filtering 1')
    },
  },
  {
    id: '19j',
    title: 'an empty vlanTrunk switches VLAN filtering on and leaves the port in VLAN 1',
    expectReference: 'passes',
    async run(subject, version) {
      expect(await vlansAfterAdd(plain(subject, version, { vlanTrunk: [] }))).toEqual(['1 PVID untagged'])
      expect(run('ip -d link show cni0')).toContain('vlan_filtering 1')
    },
  },
]

const namespace = ['unshare', '--net', 'ip', 'link', 'add', 'br0', 'type', 'bridge', 'vlan_filtering', '1']

if (Bun.spawnSync(namespace).exitCode === 0) {
  conformUnrecorded(...VLANS)
} else {
  describe(SUITE, () => {
    it('a kernel without VLAN filtering: ADD is refused and leaves nothing', async ({ task }) => {
      task.meta.elsewhere = namesOf(VLANS)
      const bowline = {
        name: 'bowline',
        bridged: { type: 'bowline' },
        routed: { type: 'bowline' },
        ipam: 'bowline-ipam',
      } as const
      const { text } = await refused('ADD', bridged(bowline, '1.1.0', { vlan: 100 }), createPod())
      expect(text).toMatch(/vlan/i)
      expect(await leftovers()).toEqual(NO_LEFTOVERS)
      expect(await link('cni0')).toBeUndefined()
    })
  })
}
