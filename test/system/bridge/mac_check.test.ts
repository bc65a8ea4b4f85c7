import { afterEach, describe, expect, it } from 'vitest'
import type { PluginOutput } from '../../support/node/plugin.ts'
import { callFor, usePods } from '../../support/node/pods.ts'
import { run } from '../../support/node/private_namespaces.ts'
import { type Listener, listenForFrames, sendFrame } from '../../support/node/raw_frames.ts'
import { link, type Netns, NOTHING, ping, removeNetns, residue } from '../../support/node/sandbox.ts'

/*
 * The key macspoofchk: a pod that sends with another hardware address than its own reaches nobody. What a pod sends is
 * made by the kernel after a change of its address, or frame by frame below the kernel.
 */
const SPOOFED = '02:66:66:66:66:66'
const REQUESTED = '02:00:00:00:00:77'

const CONFIG = {
  cniVersion: '1.1.0',
  name: 'guarded',
  type: 'bowline',
  bridge: 'br0',
  isGateway: true,
  macspoofchk: true,
  ipam: {
    type: 'bowline-ipam',
    ranges: [[{ subnet: '10.1.0.0/24' }], [{ subnet: 'fd00:1::/64' }]],
  },
}
const GATEWAYS = ['10.1.0.1', 'fd00:1::1']
const OTHERS = ['10.1.0.3', 'fd00:1::3']

const [podA, podB] = usePods('pod-a', 'pod-b')

afterEach(async () => {
  for (const pod of [podA, podB]) {
    await call('DEL', pod)
    removeNetns(pod.name)
  }
  expect(await residue()).toEqual({ ...NOTHING, links: ['br0'] })
})

describe('a pod with macspoofchk', () => {
  it('reaches its gateway and other pods with the address that it was given', async () => {
    await addBoth()
    for (const target of [...GATEWAYS, ...OTHERS])
      expect([target, await answered(target)]).toEqual([target, 1])
  })

  it('reaches nobody with another one, and is heard again with its own', async () => {
    await addBoth()
    const own = (await link('eth0', podA))?.address
    run(`ip -n pod-a link set eth0 address ${SPOOFED}`)
    const targets = [...GATEWAYS, ...OTHERS]
    expect(await Promise.all(targets.map(answered))).toEqual([0, 0, 0, 0])
    expect(run('bridge fdb show')).not.toContain(SPOOFED)
    expect(run('ip neigh; ip -n pod-b neigh')).not.toContain(SPOOFED)
    run(`ip -n pod-a link set eth0 address ${own}`)
    expect(await Promise.all(targets.map(answered))).toEqual([1, 1, 1, 1])
  })

  it.each(['another pod', 'the node'])(
    'can not reach %s by raw frames with another source',
    async (place) => {
      const { mac = '' } = podInterface(await addBoth())
      const listener = await listenAt(place)
      await sendFrame(podA, 'eth0', SPOOFED)
      await sendFrame(podA, 'eth0', mac)
      expect(await listener.hearUntil(mac)).toEqual([mac])
      await listener.stop()
    },
  )

  it('is bound to the address that was asked for, when one was', async () => {
    const { output } = await call('ADD', podA, { runtimeConfig: { mac: REQUESTED } })
    await call('ADD', podB)
    expect(podInterface(output).mac).toBe(REQUESTED)
    const listener = await listenAt('another pod')
    await sendFrame(podA, 'eth0', SPOOFED)
    await sendFrame(podA, 'eth0', REQUESTED)
    expect(await listener.hearUntil(REQUESTED)).toEqual([REQUESTED])
    await listener.stop()
  })

  it('does not bind the pods of a network without the key', async () => {
    await call('ADD', podA)
    const ipam = { type: 'bowline-ipam', ranges: [[{ subnet: '10.1.0.0/24', rangeStart: '10.1.0.100' }]] }
    const free = { name: 'free', macspoofchk: false, ipam }
    expect(await call('ADD', podB, free)).toMatchObject({ exitCode: 0 })
    const listener = await listenForFrames(podA, 'eth0')
    await sendFrame(podB, 'eth0', SPOOFED)
    expect(await listener.hearUntil(SPOOFED)).toEqual([SPOOFED])
    await listener.stop()
    await call('DEL', podB, free)
  })
})

/** The names are hashes of the network, the container and the interface. */
const TABLE = `table bridge bowline {
	map macspoofchk {
		type ifname : verdict
		elements = { "HOST" comment "pod-a eth0" : goto CHAIN }
	}

	chain prerouting {
		type filter hook prerouting priority dstnat; policy accept;
		iifname vmap @macspoofchk
	}

	chain CHAIN {
		ether saddr ${REQUESTED} return
		drop
	}
}`

describe('the check', () => {
  it('is rules that a person can read', async () => {
    const { output } = await call('ADD', podA, { runtimeConfig: { mac: REQUESTED } })
    const host = output.interfaces?.find(({ name }) => name.startsWith('veth'))?.name ?? ''
    const listing = run('nft list table bridge bowline')
    const [chain = ''] = /mac-[0-9a-f]{32}/.exec(listing) ?? []
    expect(listing).toBe(TABLE.replaceAll('HOST', host).replaceAll('CHAIN', chain))
  })

  it.each([
    ['', 'true'],
    [', whose namespace is gone', 'ip netns del pod-a'],
    [', whose record is lost', 'rm /var/lib/cni/bowline/guarded/????????????????????????????????'],
    [', whose element is gone', 'nft flush map bridge bowline macspoofchk'],
    [', whose table is gone', 'nft delete table bridge bowline'],
  ])('goes with the last pod%s', async (_, damage) => {
    await call('ADD', podA, { runtimeConfig: { mac: REQUESTED } })
    run(damage)
    expect(await call('DEL', podA)).toMatchObject({ exitCode: 0 })
    expect((await residue()).nftTables).toEqual([])
  })

  it('goes with its pod, and stays for the others', async () => {
    await addBoth()
    await call('DEL', podA)
    const map = run('nft list map bridge bowline macspoofchk')
    expect([map.includes('pod-a'), map.includes('pod-b')]).toEqual([false, true])
  })

  it('goes with GC of a pod that is not valid any more', async () => {
    await addBoth()
    const valid = [{ containerID: 'pod-b', ifname: 'eth0' }]
    expect(await call('GC', podA, { 'cni.dev/valid-attachments': valid })).toMatchObject({ exitCode: 0 })
    const map = run('nft list map bridge bowline macspoofchk')
    expect([map.includes('pod-a'), map.includes('pod-b')]).toEqual([false, true])
  })
})

async function addBoth(): Promise<PluginOutput> {
  const { output } = await call('ADD', podA)
  await call('ADD', podB)
  return output
}

function call(command: 'ADD' | 'DEL' | 'GC', netns: Netns, more: object = {}) {
  return callFor(netns, command, { ...CONFIG, ...more })
}

function podInterface({ interfaces = [] }: PluginOutput): { readonly mac?: string } {
  return interfaces.find(({ sandbox }) => sandbox) ?? {}
}

function listenAt(place: string): Promise<Listener> {
  return place === 'the node' ? listenForFrames(undefined, 'br0') : listenForFrames(podB, 'eth0')
}

async function answered(target: string): Promise<number> {
  return (await ping(target, { from: podA })).answered
}
