import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { fetchFrom, startPeerServer } from '../../support/node/http_server.ts'
import { fillPluginDirectory, type PluginOutput } from '../../support/node/plugin.ts'
import {
  addressesOf,
  clearNode,
  createNetns,
  createOutside,
  enterSandbox,
  link,
  links,
  type Netns,
  NOTHING,
  nftElements,
  type Outside,
  ping,
  removeNetns,
  residue,
  routes,
} from '../../support/node/sandbox.ts'
import { Cnitool } from '../../support/runtimes/cnitool.ts'

/*
 * cnitool, the CNI project's own runtime, drives the two networks that we ship. What it made is looked at with ip, nft
 * and ping, on a node with a link to an outside host that has no route to the pods.
 */
const PLUGINS = '/run/cni-bin'
const cnitool = new Cnitool(`${import.meta.dirname}/../../../conf`, PLUGINS)

const NETWORKS = [
  {
    name: 'bowline',
    mode: 'l3',
    // The result tells the subnet's prefix, as a runtime expects; routed pods know no subnet.
    results: ['10.244.0.2/24'],
    subnets: ['10.244.0.0/24'],
    addresses: [['10.244.0.2/32'], ['10.244.0.3/32']],
    gateways: ['10.244.0.1'],
    bridges: [],
  },
  {
    name: 'bridged',
    mode: 'l2',
    results: ['10.88.0.2/16', 'fd00:10:88::2/64'],
    subnets: ['10.88.0.0/16', 'fd00:10:88::/64'],
    addresses: [
      ['10.88.0.2/16', 'fd00:10:88::2/64'],
      ['10.88.0.3/16', 'fd00:10:88::3/64'],
    ],
    gateways: ['10.88.0.1', 'fd00:10:88::1'],
    bridges: ['cni0'],
  },
] as const

let outside: Outside
let podA: Netns
let podB: Netns

beforeAll(() => {
  enterSandbox()
  fillPluginDirectory(PLUGINS)
  outside = createOutside()
})

describe.each(NETWORKS)(
  'cnitool on $name (mode $mode)',
  ({ name, results, subnets, addresses, gateways, bridges }) => {
    let resultA: PluginOutput
    const plain = (pod: 0 | 1): string[] => addresses[pod].map((address) => address.replace(/\/.*/, ''))

    beforeAll(async () => {
      await clearNode()
      podA = createNetns('pod-a')
      podB = createNetns('pod-b')
      resultA = JSON.parse(await cnitool.run('add', name, podA))
      await cnitool.run('add', name, podB)
    })

    afterAll(() => {
      removeNetns('pod-a')
      removeNetns('pod-b')
    })

    it('prints the addresses and interfaces that the pod then has', async () => {
      const eth0 = await link('eth0', podA)
      expect(resultA.ips?.map(({ address }) => address)).toEqual(results)
      expect(resultA.ips?.map(({ gateway }) => gateway)).toEqual(gateways)
      expect(await addressesOf('eth0', podA)).toEqual(addresses[0])
      expect(resultA.interfaces).toContainEqual(
        expect.objectContaining({ name: 'eth0', mac: eth0?.address, sandbox: podA.path }),
      )
      const hostNames = (await links()).map(({ ifname }) => ifname)
      for (const { name, sandbox } of resultA.interfaces ?? [])
        if (!sandbox) expect(hostNames).toContain(name)
    })

    it('says at the host interface whose it is', async () => {
      const hostName = resultA.interfaces?.find(({ name }) => name.startsWith('veth'))?.name ?? ''
      expect((await link(hostName))?.ifalias).toMatch(new RegExp(`^bowline ${name} cnitool-\\S+ eth0$`))
    })

    it('routes everything by the gateway', async () => {
      const defaults = [...(await routes(podA, 4)), ...(await routes(podA, 6))].filter(
        ({ dst }) => dst === 'default',
      )
      expect(defaults.map(({ gateway }) => gateway)).toEqual(gateways)
    })

    it('lets pods reach each other, their gateway and the node, and the node reach them', async () => {
      for (const target of [...plain(1), ...gateways, outside.nodeAddress]) {
        expect([target, (await ping(target, { from: podA })).answered]).toEqual([target, 1])
      }
      for (const target of plain(0)) expect([target, (await ping(target)).answered]).toEqual([target, 1])
    })

    it('gives what leaves the node the address of the node', async () => {
      const server = await startPeerServer(outside.netns, 8080)
      const seen = await fetchFrom(podA, `http://${outside.address}:8080/`)
      await server.stop()
      expect(seen).toBe(outside.nodeAddress)
    })

    it('lets the pod keep its own address on the way to another pod', async () => {
      const server = await startPeerServer(podB, 8080)
      const seen = await Promise.all(
        plain(1).map((address) =>
          fetchFrom(podA, `http://${address.includes(':') ? `[${address}]` : address}:8080/`),
        ),
      )
      await server.stop()
      expect(seen).toEqual(plain(0))
    })

    it('holds one lease for each address, one masquerade element for each subnet, and one record for each pod', async () => {
      const all = [...plain(0), ...plain(1)].toSorted()
      const now = await residue()
      expect(now.leases).toEqual(all.map((address) => `networks/${name}/${address}`))
      expect(await nftElements()).toEqual(subnets)
      expect(now.records).toHaveLength(2)
    })

    it('passes CHECK', async () => {
      await expect(cnitool.run('check', name, podA)).resolves.toBe('')
    })

    it('has removed all after the DELs, also of a pod whose namespace is gone and of one that comes twice', async () => {
      removeNetns('pod-a')
      for (const pod of [podA, podA, podB]) await expect(cnitool.run('del', name, pod)).resolves.toBe('')
      expect(await residue()).toEqual({ ...NOTHING, links: bridges })
    })
  },
)
