import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { NOTHING } from '../support/node/sandbox.ts'
import {
  churn,
  configureNetworks,
  type FilledNetwork,
  fill,
  forget,
  NODE_SCRIPT,
  type VmNetwork,
  type VmPod,
} from '../support/vm/churn.ts'
import { type Disk, useVms, type Vm } from '../support/vm/machine.ts'
import { callPluginIn, residueIn } from '../support/vm/node.ts'

/*
 * A node goes down with pods on it, and boots again on the same disk. ADD syncs nothing, so that after a power cut the disk
 * has any part of what was written: names without content, records of pods that had been removed, and nothing at all.
 */

/** 16 addresses without the network's own, the gateway's and that of broadcasts. */
const CAPACITY = 13

const NETWORKS = [
  network('routed', { mode: 'l3', ipMasq: true }, '10.1.0.0/28'),
  network('bridged', { mode: 'l2', isGateway: true, ipMasq: true }, '10.2.0.0/28'),
]

function network(name: string, more: object, subnet: string): VmNetwork {
  const ipam = { type: 'bowline-ipam', ranges: [[{ subnet }]], routes: [{ dst: '0.0.0.0/0' }] }
  return { name, config: { cniVersion: '1.1.0', name, type: 'bowline', ...more, ipam }, capacity: CAPACITY }
}

/**
 * When the power goes: after how many pods were made, how soon the disk gets what is written, and which part. The first is
 * what a node has that nobody has configured; `sync` makes whole what is older than the last moments.
 */
const POWER_CUTS = [
  { pods: 28, mountOptions: 'defaults', sync: false },
  { pods: 19, mountOptions: 'commit=1', sync: true },
  { pods: 13, mountOptions: 'commit=1,nodelalloc', sync: false },
]

const vms = useVms({ more: NODE_SCRIPT })
let disk: Disk
let vm: Vm

async function boot(mountOptions = 'defaults'): Promise<void> {
  vm = await vms.boot({ disk, mountOptions })
  await configureNetworks(vm, NETWORKS)
}

beforeEach(() => {
  disk = vms.createDisk()
})

// The next test's machine needs the memory of this one.
afterEach(() => vm.powerCut())

describe('a node whose power is cut in the middle of churn', () => {
  it('is whole after each of three power cuts', async () => {
    await boot(POWER_CUTS[0]?.mountOptions)
    for (const [cut, { pods, sync }] of POWER_CUTS.entries()) {
      const dead = await churn(vm, NETWORKS, `churn${cut}`, { pods, sync })
      await vm.powerCut()
      await boot(POWER_CUTS[cut + 1]?.mountOptions)
      console.log(`power cut after ${pods} pods; on the disk: ${await onDisk()}`)
      expect(await vm.sh('dmesg')).toContain('recovery complete')
      await expectWholeNode(`cut${cut}`, dead)
    }
  })
})

describe('a node that is rebooted while pods come and go', () => {
  it('has nothing left of the boot before once it has made a pod', async () => {
    await boot()
    await churn(vm, NETWORKS, 'kept', { pods: 15 })
    await vm.shutDown()
    await boot()
    expect((await residueIn(vm)).leases.length).toBeGreaterThan(8)
    // The first ADD of a boot does away with all of the boot before, though there is room without.
    for (const network of NETWORKS) await addOnePod(network)
    const { leases, records } = await residueIn(vm)
    expect([leases.length, records.length]).toEqual([2, 2])
    await expectCleanAfterGc()
  })
})

describe('a node whose files are damaged when its power is cut', () => {
  it('is whole, and GC ends what the damage has left', async () => {
    await boot()
    await fill(vm, NETWORKS, 'hurt')
    await vm.sh(DAMAGE)
    await vm.powerCut()
    await boot()
    for (const network of NETWORKS) {
      await callPluginIn(vm, { command: 'STATUS', config: network.config })
      await addOnePod(network)
    }
    await expectCleanAfterGc()
    await expectWholeNode('healed', [])
  })
})

/** Makes a pod that finds its attachment as ADD has left it. */
async function addOnePod({ name, config }: VmNetwork): Promise<void> {
  const containerId = `first-${name}`
  const netns = `/run/netns/${containerId}`
  await vm.sh(`ip netns add ${containerId}`)
  const prevResult = await callPluginIn(vm, { command: 'ADD', config, containerId, netns })
  await callPluginIn(vm, { command: 'CHECK', config: { ...config, prevResult }, containerId, netns })
}

/** A lease and a record of each network are emptied, others are filled with noise; so is all that is kept for speed. */
const DAMAGE = `cd /var/lib/cni
  noise() { head -c 300 /dev/urandom >"$1"; }
  for network in routed bridged; do
    leases=(networks/$network/10.*); records=(bowline/$network/*)
    : >"\${leases[0]}"; noise "\${leases[1]}"; rm "\${leases[2]}"
    : >"\${records[0]}"; noise "\${records[1]}"; rm "\${records[2]}"; truncate -s 40 "\${records[3]}"
    noise networks/$network/last_reserved_ip.0
    for file in networks/.bowline/$network/*; do noise "$file"; done
  done
  sync`

/** What the disk has of leases and records, and how much of it without content. For whoever reads the log. */
async function onDisk(): Promise<string> {
  const count = async (kind: string, files: string) => {
    // Of churn that took less time than the file system waits before it writes, not even the directory is there.
    const find = `cd /var/lib/cni 2>/dev/null || exit 0; find ${files} -type f -exec stat -c %s {} +`
    const sizes = (await vm.sh(find)).split('\n').filter(Boolean)
    return `${sizes.length} ${kind}, ${sizes.filter((size) => size === '0').length} of them empty`
  }
  const leases = await count('leases', "networks -name '10.*'")
  return `${leases}; ${await count('records', "bowline -path '*/.locks' -prune -o")}`
}

/** All that is promised of a node that has just booted, whatever became of the pods of the boot before. */
async function expectWholeNode(prefix: string, dead: readonly VmPod[]): Promise<void> {
  for (const { config } of NETWORKS) await callPluginIn(vm, { command: 'STATUS', config })
  // A runtime that has not seen the end of a pod sends DEL up to three times: some before the first ADD of the boot, others
  // when somebody else has the address, and some never.
  const calls = dead.map((pod, i) => ({ ...pod, times: i % 4 }))
  expect(await forget(vm, calls.slice(0, calls.length / 2))).toEqual([])

  const filled = await fill(vm, NETWORKS, prefix)
  for (const { network, pods, refusal } of filled) {
    const addresses = new Set(pods.flatMap(({ result: { ips = [] } }) => ips.map(({ address }) => address)))
    expect(addresses.size, `${network.name}: ${refusal.msg}`).toBe(network.capacity)
    expect(refusal).toMatchObject({ code: 100 })
  }
  // None of the boot before.
  const full = await residueIn(vm)
  expect([full.leases.length, full.records.length]).toEqual([2 * CAPACITY, 2 * CAPACITY])

  expect(await forget(vm, calls.slice(calls.length / 2))).toEqual([])
  expect(await residueIn(vm)).toEqual(full)
  for (const one of filled) await expectWorkingPod(one)
  await expectCleanAfterGc()
}

/** One of the pods, which was made beside the remains of the boot before. */
async function expectWorkingPod({ network, pods }: FilledNetwork): Promise<void> {
  const { containerId = '', result } = pods.at(-1) ?? {}
  const netns = `/run/netns/${containerId}`
  const config = { ...network.config, prevResult: result }
  await callPluginIn(vm, { command: 'CHECK', config, containerId, netns })
  await vm.sh(`ip netns exec ${containerId} ping -n -c 1 -w 20 ${result?.ips?.[0]?.gateway}`)
}

async function expectCleanAfterGc(): Promise<void> {
  for (const { config } of NETWORKS)
    await callPluginIn(vm, { command: 'GC', config: { ...config, 'cni.dev/valid-attachments': [] } })
  expect(await residueIn(vm)).toEqual({ ...NOTHING, links: ['cni0'] })
}
