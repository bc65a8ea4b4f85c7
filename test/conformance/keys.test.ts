import { expect } from 'vitest'
import { type Case, conform } from '../support/conformance/cases.ts'
import {
  add,
  asIpam,
  bridged,
  createPod,
  invoke,
  ipamOf,
  leftovers,
  NO_LEFTOVERS,
  reaches,
  refused,
  routed,
  SUBNET4,
  useNode,
} from '../support/conformance/node.ts'
import { addressesOf, link, residue } from '../support/node/sandbox.ts'

// Values of keys: which are refused, before anything is done, and which are taken.
useNode()

const TRUNKS: readonly { readonly what: string; readonly trunk: readonly object[] }[] = [
  { what: 'an id of 0', trunk: [{ id: 0 }] },
  { what: 'an id of 4095', trunk: [{ id: 4095 }] },
  { what: 'a negative id', trunk: [{ id: -1 }] },
  { what: 'minID without maxID', trunk: [{ minID: 10 }] },
  { what: 'maxID without minID', trunk: [{ maxID: 10 }] },
  { what: 'minID above maxID', trunk: [{ minID: 20, maxID: 10 }] },
  { what: 'minID of 0', trunk: [{ minID: 0, maxID: 10 }] },
  { what: 'maxID of 4096', trunk: [{ minID: 10, maxID: 4096 }] },
]

const REFUSED: readonly Case[] = [
  {
    id: '21',
    title: 'refuses a vlan outside 0 to 4094, names the value, and makes nothing, not even the bridge',
    expectReference: 'passes',
    async run(subject, version) {
      for (const vlan of [-100, 4095, 5000]) {
        const { text } = await refused('ADD', bridged(subject, version, { vlan }), createPod(`pod${vlan}`))
        expect(text).toMatch(/vlan/i)
        expect(text).toContain(`${vlan}`)
      }
      expect((await residue()).links).toEqual([])
    },
  },
  ...TRUNKS.map(
    ({ what, trunk }, i): Case => ({
      id: `21${'bcdefghi'[i]}`,
      title: `refuses ${what} in vlanTrunk, and makes nothing`,
      expectReference: 'passes',
      async run(subject, version) {
        await refused('ADD', bridged(subject, version, { vlanTrunk: trunk }), createPod())
        expect((await residue()).links).toEqual([])
      },
    }),
  ),
  {
    id: '21j',
    title: 'refuses a gateway of the other family and a reversed range, names it, and holds nothing',
    expectReference: 'passes',
    async run(subject, version) {
      const wrong = [{ gateway: 'fd00::1' }, { rangeStart: '10.1.0.9', rangeEnd: '10.1.0.5' }]
      for (const [i, keys] of wrong.entries()) {
        const ipam = { ...ipamOf(subject), ranges: [[{ subnet: SUBNET4, ...keys }]] }
        const config = bridged(subject, version, { ipam })
        const { text } = await refused('ADD', config, createPod(`pod${i}`), asIpam(subject))
        expect(Object.values(keys).some((value) => text.includes(value))).toBe(true)
      }
      expect(await leftovers()).toEqual(NO_LEFTOVERS)
    },
  },
  {
    id: '21k',
    title: 'a gateway outside the subnet is refused, or the pod reaches it',
    expectReference: 'passes',
    async run(subject, version) {
      for (const [i, network] of [bridged, routed].entries()) {
        const pod = createPod(`pod${i}`)
        const ipam = {
          ...ipamOf(subject),
          ranges: [[{ subnet: `10.${i + 1}.0.0/24`, gateway: '169.254.1.1' }]],
        }
        const { exitCode, output } = await invoke(
          'ADD',
          network(subject, version, { ipam, name: `net${i}` }),
          pod,
        )
        if (exitCode === 0) expect(await reaches('169.254.1.1', pod)).toBe(true)
        else expect(`${output.msg} ${output.details}`).toContain('169.254.1.1')
      }
    },
  },
  {
    id: 'K1',
    title: 'refuses a value of the wrong kind, names the key, and makes nothing',
    expectReference: 'passes',
    async run(subject, version) {
      const wrong = { isGateway: 'yes', mtu: '1400', bridge: 7, ipMasq: 1, hairpinMode: 'no' }
      for (const [key, value] of Object.entries(wrong)) {
        const { text } = await refused(
          'ADD',
          bridged(subject, version, { [key]: value }),
          createPod(`pod-${key}`.slice(0, 12)),
        )
        expect(text).toContain(key)
      }
      expect((await residue()).links).toEqual([])
    },
  },
  {
    id: 'K2',
    title: 'refuses a MAC that is none, and leaves nothing',
    expectReference: { fails: 'the bridge is made by then, and stays', at: /no link is made/ },
    async run(subject, version) {
      await refused('ADD', bridged(subject, version, { runtimeConfig: { mac: 'no:mac' } }), createPod())
      expect((await residue()).links, 'no link is made').toEqual([])
    },
  },
  {
    id: 'K3',
    title: 'refuses an ipam type that climbs out of CNI_PATH',
    expectReference: 'passes',
    async run(subject, version) {
      const ipam = { ...ipamOf(subject), type: '../../../../bin/true' }
      await refused('ADD', bridged(subject, version, { ipam }), createPod())
      expect(await leftovers()).toMatchObject({ leases: [] })
    },
  },
]

const TAKEN: readonly Case[] = [
  {
    id: 'K4',
    title: 'mtu is that of the bridge it makes and of both ends; 0 is the kernel’s choice',
    expectReference: 'passes',
    async run(subject, version) {
      const networks = [
        { name: 'net1', bridge: 'br1', mtu: 1400, actual: 1400, subnet: '10.1.0.0/24' },
        { name: 'net2', bridge: 'br2', mtu: 0, actual: 1500, subnet: '10.2.0.0/24' },
      ]
      for (const { name, bridge, mtu, actual, subnet } of networks) {
        const pod = createPod(name)
        const config = bridged(subject, version, { name, bridge, mtu, ipam: ipamOf(subject, [subnet]) })
        const { interfaces } = await add(config, pod)
        const [host, port] = [await link(bridge), await link(interfaces?.[1]?.name ?? '')]
        expect([host?.mtu, port?.mtu, (await link('eth0', pod))?.mtu]).toEqual([actual, actual, actual])
      }
    },
  },
  {
    id: 'K6',
    title: 'a network without a bridge takes its keys: mtu, ipMasq, ipMasqBackend, dns',
    expectReference: 'passes',
    async run(subject, version) {
      const pod = createPod()
      const keys = { mtu: 1300, ipMasq: true, ipMasqBackend: 'nftables', dns: { domain: 'a.example' } }
      const result = await add(routed(subject, version, keys), pod)
      expect([result.dns, (await link('eth0', pod))?.mtu]).toEqual([{ domain: 'a.example' }, 1300])
      expect(await addressesOf('eth0', pod)).toHaveLength(1)
    },
  },
  {
    id: 'K7',
    title: 'the name cni0 is the default of bridge',
    expectReference: 'passes',
    async run(subject, version) {
      await add(bridged(subject, version, { bridge: undefined }), createPod('a'))
      expect(await addressesOf('cni0')).toEqual(['10.1.0.1/24'])
    },
  },
  {
    id: 'K8',
    title: 'an ipam section without a type is none: a network without addresses',
    expectReference: 'passes',
    async run(subject, version) {
      for (const [name, ipam] of [
        ['a', {}],
        ['b', { type: '' }],
        ['c', undefined],
        ['d', null],
      ] as const) {
        const pod = createPod(name)
        const { ips } = await add(bridged(subject, version, { ipam, isGateway: false }), pod)
        expect([name, ips, await addressesOf('eth0', pod)]).toEqual([name, undefined, []])
      }
      expect(await leftovers()).not.toEqual(NO_LEFTOVERS)
    },
  },
]

conform(...REFUSED, ...TAKEN)
