import { writeFileSync } from 'node:fs'
import { expect } from 'vitest'
import { type Case, conform, type Subject, type Version } from '../support/conformance/cases.ts'
import {
  add,
  bridged,
  type Config,
  createPod,
  done,
  ipamOf,
  leftovers,
  NO_LEFTOVERS,
  refused,
  useNode,
  writeDelegate,
} from '../support/conformance/node.ts'
import { run } from '../support/node/private_namespaces.ts'
import { addressesOf, link, links } from '../support/node/sandbox.ts'

// One interface of one container: its name, its namespace, and what is left when an ADD fails.
useNode()

/** A route that the kernel refuses: IPAM has given its address by then. */
function failingAfterIpam(subject: Subject, version: Version, more: Record<string, unknown> = {}): Config {
  const ipam = { ...ipamOf(subject), routes: [{ dst: '192.168.0.0/16', gw: '203.0.113.9' }] }
  return bridged(subject, version, { ipam, ...more })
}

const LINKS: readonly Case[] = [
  {
    id: '27',
    title: 'refuses an interface name that is taken in the container, and leaves that interface alone',
    expectReference: 'passes',
    async run(subject, version) {
      const pod = createPod()
      run(`ip -n ${pod.name} link add eth0 type veth peer name other`)
      const { text } = await refused('ADD', bridged(subject, version), pod)
      expect(text).toMatch(/eth0.* already exists|already exists.*eth0/)
      expect((await link('eth0', pod))?.linkinfo?.info_kind).toBe('veth')
      expect((await leftovers()).leases).toEqual([])
    },
  },
  {
    id: '27b',
    title: 'a MAC that was asked for is that of the container’s end only',
    expectReference: 'passes',
    async run(subject, version) {
      const mac = '02:11:22:33:44:55'
      const { interfaces } = await add(bridged(subject, version, { runtimeConfig: { mac } }), createPod())
      expect(interfaces?.map((one) => one.mac === mac)).toEqual([false, false, true])
    },
  },
  {
    id: '27c',
    title: 'a container whose interface was removed leaves no link, and DEL succeeds',
    expectReference: 'passes',
    async run(subject, version) {
      const [pod, config] = [createPod(), bridged(subject, version)]
      await add(config, pod)
      run(`ip -n ${pod.name} link delete eth0`)
      expect((await leftovers()).links).toEqual([])
      await done('DEL', config, pod)
      await done('DEL', config, pod)
      expect(await leftovers()).toEqual(NO_LEFTOVERS)
    },
  },
  {
    id: '27d',
    title: 'every attachment has a host interface of its own, also two of one container',
    expectReference: 'passes',
    async run(subject, version) {
      const names = new Set<string | undefined>()
      for (const pod of ['a', 'b', 'c'].map((name) => createPod(name))) {
        for (const ifName of ['eth0', 'eth1']) {
          const { interfaces } = await add(bridged(subject, version), pod, { ifName })
          names.add(interfaces?.[1]?.name)
        }
      }
      const ports = (await links()).filter(({ master }) => master === 'cni0').map(({ ifname }) => ifname)
      expect(ports.toSorted()).toEqual([...names].toSorted())
      expect(ports).toHaveLength(6)
    },
  },
  {
    id: 'G10',
    title: 'DEL of one interface of a container leaves its other one on the same network alone',
    expectReference: 'passes',
    async run(subject, version) {
      const [pod, config] = [createPod(), bridged(subject, version)]
      for (const ifName of ['eth0', 'eth1']) await add(config, pod, { ifName })
      await done('DEL', config, pod, { ifName: 'eth1' })
      expect(await addressesOf('eth0', pod)).toEqual(['10.1.0.2/24'])
      expect(await leftovers()).toMatchObject({
        links: [expect.any(String)],
        leases: ['networks/net/10.1.0.2'],
      })
    },
  },
]

const NAMESPACES: readonly Case[] = [
  {
    id: '28',
    title: 'refuses a namespace path that is missing, and says so',
    expectReference: 'passes',
    async run(subject, version) {
      const { text } = await refused('ADD', bridged(subject, version), {
        ...createPod(),
        path: '/run/netns/gone',
      })
      expect(text).toContain('/run/netns/gone')
      expect(await leftovers()).toEqual(NO_LEFTOVERS)
    },
  },
  {
    id: '28b',
    title: 'refuses a file that is no namespace, in other words than a missing one',
    expectReference: 'passes',
    async run(subject, version) {
      const pod = createPod()
      writeFileSync('/run/netns/plain', '')
      const at = (path: string): Promise<{ text: string }> =>
        refused('ADD', bridged(subject, version), { ...pod, path })
      const [plain, missing] = [await at('/run/netns/plain'), await at('/run/netns/gone')]
      expect(plain.text.replace('plain', '')).not.toBe(missing.text.replace('gone', ''))
      expect(await leftovers()).toEqual(NO_LEFTOVERS)
    },
  },
  {
    id: '28c',
    title: 'refuses the namespace that it runs in (code 8), before it does anything',
    expectReference: {
      fails: 'it notices after ADD, and prints both a result and an error',
      at: /has a code/,
    },
    async run(subject, version) {
      const { code } = await refused('ADD', bridged(subject, version), {
        ...createPod(),
        path: '/proc/self/ns/net',
      })
      expect(code).toBe(8)
      expect(await leftovers()).toEqual(NO_LEFTOVERS)
    },
  },
  {
    id: '28d',
    title: 'CNI_NETNS_OVERRIDE allows it',
    expectReference: 'passes',
    async run(subject, version) {
      const env = { CNI_NETNS_OVERRIDE: 'TRUE' }
      await add(bridged(subject, version), { ...createPod(), path: '/proc/self/ns/net' }, { env })
      expect(await addressesOf('eth0')).toEqual(['10.1.0.2/24'])
    },
  },
  {
    id: 'G16',
    title: 'refuses a namespace of another kind, and leaves nothing behind',
    expectReference: { fails: 'DEL fails', at: /DEL succeeds/ },
    async run(subject, version) {
      const pod = { ...createPod(), path: '/proc/self/ns/mnt' }
      await refused('ADD', bridged(subject, version), pod)
      expect(await leftovers(), 'nothing is left').toEqual(NO_LEFTOVERS)
      await done('DEL', bridged(subject, version), pod)
    },
  },
]

const FAILED: readonly Case[] = [
  {
    id: '15',
    title: 'an ADD that fails after IPAM gives the address back',
    expectReference: 'passes',
    async run(subject, version) {
      await refused('ADD', failingAfterIpam(subject, version), createPod())
      expect((await leftovers()).leases).toEqual([])
    },
  },
  {
    id: '15b',
    title: 'an ADD that fails leaves nothing else of the pod either: no link, no rule',
    expectReference: { fails: 'the veth pair stays', at: /nothing is left/ },
    async run(subject, version) {
      const pod = createPod()
      await refused('ADD', failingAfterIpam(subject, version, { ipMasq: true }), pod)
      expect(await leftovers('10.1.0.2'), 'nothing is left').toEqual(NO_LEFTOVERS)
      expect(await link('eth0', pod)).toBeUndefined()
    },
  },
  {
    id: '15c',
    title: 'an ADD that its IPAM plugin fails leaves nothing',
    expectReference: { fails: 'the veth pair stays', at: /nothing is left/ },
    async run(subject, version) {
      const type = writeDelegate(
        'failing',
        `echo '{"cniVersion":"${version}","code":142,"msg":"no luck"}'; exit 1`,
      )
      const { code, text } = await refused('ADD', bridged(subject, version, { ipam: { type } }), createPod())
      expect([code, text]).toEqual([142, expect.stringContaining('no luck')])
      expect(await leftovers(), 'nothing is left').toEqual(NO_LEFTOVERS)
    },
  },
  {
    id: '15d',
    title: 'the IPAM plugin gets a DEL when its ADD fails (specification, section 4)',
    expectReference: { fails: 'no DEL is sent', at: /the delegate was asked/ },
    async run(subject, version) {
      const type = writeDelegate(
        'failing',
        `echo $CNI_COMMAND >>/var/lib/cni/asked; [ $CNI_COMMAND = DEL ] || { echo '{"code":142,"msg":"no"}'; exit 1; }`,
      )
      await refused('ADD', bridged(subject, version, { ipam: { type } }), createPod())
      expect(run('cat /var/lib/cni/asked').split('\n'), 'the delegate was asked').toEqual(['ADD', 'DEL'])
    },
  },
  {
    id: 'G4',
    title: 'a second ADD of a live attachment is refused and leaves it whole, with a dynamic address',
    expectReference: 'passes',
    run: (subject, version) => addTwice(bridged(subject, version)),
  },
  {
    id: 'G4b',
    title: 'the same with an address that was asked for',
    expectReference: 'passes',
    run: (subject, version) =>
      addTwice(bridged(subject, version, { runtimeConfig: { ips: ['10.1.0.2/24'] } })),
  },
  {
    id: 'G4c',
    title: 'the same without a bridge, with an address that was asked for',
    expectReference: {
      fails: 'its rollback frees the address of the live pod',
      at: /the address is still held/,
    },
    run: (subject, version) =>
      addTwice({
        ...bridged(subject, version, { runtimeConfig: { ips: ['10.1.0.2/24'] } }),
        ...subject.routed,
        bridge: undefined,
        isGateway: undefined,
        // Another request the second time: the address of the first is taken.
      }),
  },
  {
    id: 'G5',
    title: 'an ADD that failed can be tried again, without a DEL between',
    expectReference: { fails: 'its own leftover: eth0 already exists', at: /already exists/ },
    async run(subject, version) {
      const pod = createPod()
      await refused('ADD', failingAfterIpam(subject, version), pod)
      await add(bridged(subject, version), pod)
      expect(await addressesOf('eth0', pod)).toHaveLength(1)
    },
  },
]

async function addTwice(config: Config): Promise<void> {
  const pod = createPod()
  await add(config, pod)
  const again = { ...config, ...(config['runtimeConfig'] ? { runtimeConfig: { ips: ['10.1.0.3/24'] } } : {}) }
  await refused('ADD', again, pod)
  expect(await addressesOf('eth0', pod), 'the pod has its address').toEqual([
    expect.stringMatching(/^10\.1\.0\.2\//),
  ])
  const { links, leases } = await leftovers()
  expect(leases, 'the address is still held').toEqual(['networks/net/10.1.0.2'])
  expect(links, 'there is one link').toHaveLength(1)
}

conform(...LINKS, ...NAMESPACES, ...FAILED)
