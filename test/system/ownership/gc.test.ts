import { readdirSync, rmSync, writeFileSync } from 'node:fs'
import { beforeAll, describe, expect, it } from 'vitest'
import { deriveNames } from '../../../src/core/names.ts'
import { fillPluginDirectory, type PluginAnswer, runPlugin } from '../../support/node/plugin.ts'
import { usePods } from '../../support/node/pods.ts'
import { links, NOTHING, nftElements, removeNetns, residue } from '../../support/node/sandbox.ts'

/* GC on a real node whose records have suffered; what is left is looked at with ip and nft. */
const PLUGINS = '/run/cni-gc'
const RECORDS = '/var/lib/cni/bowline/net'
const PODS = ['a', 'b', 'c'] as const

const BASE = { cniVersion: '1.1.0', type: 'bowline', ipMasq: true }
const NETWORKS = {
  l3: {
    ...BASE,
    name: 'net',
    mode: 'l3',
    ipam: { type: 'bowline-ipam', ranges: [[{ subnet: '10.7.0.0/24' }]] },
  },
  l2: {
    ...BASE,
    name: 'net',
    bridge: 'br0',
    macspoofchk: true,
    ipam: { type: 'bowline-ipam', ranges: [[{ subnet: '10.7.0.0/24' }]] },
  },
  'l2 with host-local': {
    ...BASE,
    name: 'net',
    bridge: 'br0',
    ipam: { type: 'host-local', ranges: [[{ subnet: '10.7.0.0/24' }]] },
  },
}
const OTHER = {
  ...NETWORKS.l3,
  name: 'other',
  ipam: { type: 'bowline-ipam', ranges: [[{ subnet: '10.8.0.0/24' }]] },
}

async function call(command: 'ADD' | 'CHECK' | 'DEL', pod: string, config: object): Promise<PluginAnswer> {
  const netns = `/run/netns/${pod}`
  return runPlugin({ command, config, containerId: pod, netns, cniPath: PLUGINS })
}

async function gc(config: object, valid: readonly string[] | null): Promise<PluginAnswer> {
  const list = valid?.map((containerID) => ({ containerID, ifname: 'eth0' })) ?? null
  return runPlugin({
    command: 'GC',
    config: { ...config, 'cni.dev/valid-attachments': list, 'cni.dev/attachments': list },
    cniPath: PLUGINS,
  })
}

function recordOf(pod: string): string {
  return `${RECORDS}/${deriveNames({ network: 'net', containerId: pod, ifName: 'eth0' }).key}`
}

usePods(...PODS)

beforeAll(() => fillPluginDirectory(PLUGINS))

describe.each(Object.entries(NETWORKS))('GC of a network (%s)', (name, config) => {
  const bridges = name === 'l3' ? [] : ['br0']
  // Of a lease of host-local nobody but a record knows.
  const damages = name.includes('host-local')
    ? (['nothing'] as const)
    : (['nothing', 'lost', 'damaged'] as const)

  it.each(damages)('takes the pod that is not valid, whose record has suffered: %s', async (damage) => {
    const added = [
      await call('ADD', 'a', config),
      await call('ADD', 'b', config),
      await call('ADD', 'c', OTHER),
    ]
    for (const answer of added) expect(answer).toMatchObject({ exitCode: 0 })
    if (damage === 'lost') rmSync(recordOf('a'))
    if (damage === 'damaged') writeFileSync(recordOf('a'), '{"version":1,')
    expect(await gc(config, ['b'])).toMatchObject({ exitCode: 0, stdout: '' })
    expect((await residue()).leases).toEqual(['networks/net/10.7.0.3', 'networks/other/10.8.0.2'])
    expect(await nftElements()).toEqual(expect.arrayContaining(['10.7.0.0/24', '10.8.0.0/24']))
    expect(await nftElements()).toHaveLength(name === 'l2' ? 3 : 2)
    expect((await links()).filter(({ ifname }) => ifname.startsWith('veth'))).toHaveLength(2)
    expect(readdirSync(RECORDS)).toHaveLength(1)
    for (const [pod, of, answer] of [
      ['b', config, added[1]],
      ['c', OTHER, added[2]],
    ] as const) {
      const checked = await call('CHECK', pod, { ...of, prevResult: answer?.output })
      expect(checked, pod).toMatchObject({ exitCode: 0 })
    }
  })

  it('takes all when none is valid, the rules that all had in common too', async () => {
    for (const pod of PODS) expect(await call('ADD', pod, config)).toMatchObject({ exitCode: 0 })
    removeNetns('b')
    expect(await gc(config, null)).toMatchObject({ exitCode: 0 })
    expect(await residue()).toEqual({ ...NOTHING, links: bridges })
  })

  it('harms no pod that is added at the same time', async () => {
    const adds = PODS.map((pod) => call('ADD', pod, config))
    const gcs = Array.from({ length: 5 }, () => gc(config, PODS))
    const added = await Promise.all(adds)
    for (const answer of await Promise.all(gcs)) expect(answer).toMatchObject({ exitCode: 0 })
    for (const [i, pod] of PODS.entries()) {
      const checked = await call('CHECK', pod, { ...config, prevResult: added[i]?.output })
      expect(checked, pod).toMatchObject({ exitCode: 0 })
    }
    expect((await residue()).leases).toHaveLength(PODS.length)
  })
})
