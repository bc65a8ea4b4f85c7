import { expect } from 'vitest'
import { type Case, conform, type Subject, type Version } from '../support/conformance/cases.ts'
import {
  add,
  bridged,
  type Config,
  createPod,
  done,
  invoke,
  invokeTraced,
  ipamOf,
  leftovers,
  NO_LEFTOVERS,
  type Pod,
  plainAddresses,
  refused,
  useNode,
  writeDelegate,
} from '../support/conformance/node.ts'
import { enterFreshNetwork, run } from '../support/node/private_namespaces.ts'
import { removeNetns } from '../support/node/sandbox.ts'

// Processes that are killed, disks that fail and nodes that lose their power.
useNode()

/** The system calls by which a plugin changes something. */
const CHANGING = ['sendto', 'pwrite64', 'write', 'linkat', 'renameat', 'unlink', 'unlinkat', 'mkdir'] as const
const MAX_STEPS = 60

/** How many steps pass between two kills. (test/system/crash/kill.test.ts kills ours before each of its system calls.) */
const STRIDE = { reference: 7, bowline: 5 }

/** Kills ADD at one step after another, on a new pod each time. After each kill DEL leaves nothing. */
async function killAtEachStep(subject: Subject, config: Config): Promise<void> {
  let killed = 0
  for (const call of CHANGING) {
    for (let nth = 1; nth < MAX_STEPS; nth += STRIDE[subject.name]) {
      const pod = createPod(`${call}${nth}`)
      const injection = `-e trace=${call} -e inject=${call}:signal=KILL:when=${nth}`
      const { signal } = await invokeTraced('ADD', config, pod, injection)
      await done('DEL', config, pod)
      await expectNothing(pod)
      removeNetns(pod.name)
      if (!signal) break
      killed++
    }
  }
  expect(killed, 'it was killed at some steps').toBeGreaterThan(subject.name === 'reference' ? 1 : 5)
}

async function expectNothing(pod: Pod): Promise<void> {
  expect(await leftovers(pod.containerId), `nothing is left of ${pod.name}`).toEqual(NO_LEFTOVERS)
}

const KILLS: readonly Case[] = [
  {
    id: 'G1',
    title: 'an ADD that is killed at any step leaves nothing after DEL',
    expectReference: 'passes',
    run: (subject, version) => killAtEachStep(subject, bridged(subject, version, { ipMasq: true })),
  },
]

const ADDRESSES = { rangeStart: '10.1.0.2', rangeEnd: '10.1.0.3', subnet: '10.1.0.0/24' }

/** A network with room for two pods. */
function small(subject: Subject, version: Version): Config {
  return bridged(subject, version, { ipMasq: true, ipam: { ...ipamOf(subject), ranges: [[ADDRESSES]] } })
}

const DISKS: readonly Case[] = [
  {
    id: 'G8',
    title: 'an ADD on a full disk is refused and leaves nothing; with room again it works',
    expectReference: { fails: 'the veth pair stays', at: /nothing is left/ },
    async run(subject, version) {
      run(`mount -t tmpfs -o size=64k tmpfs /var/lib/cni; mkdir -p /var/lib/cni/networks/net
        dd if=/dev/zero of=/var/lib/cni/filler bs=1k 2>/dev/null || true`)
      const [pod, config] = [createPod(), small(subject, version)]
      try {
        await refused('ADD', config, pod)
        expect(await leftovers(pod.containerId), 'nothing is left').toEqual(NO_LEFTOVERS)
        run('rm /var/lib/cni/filler')
        await add(config, pod)
        await done('DEL', config, pod)
        await expectNothing(pod)
      } finally {
        run('umount /var/lib/cni')
      }
    },
  },
  {
    id: 'G8b',
    title: 'a DEL on a disk that can’t be written removes what it can, says so, and is repeated with success',
    expectReference: { fails: 'DEL succeeds, and the address stays held', at: /DEL is refused/ },
    async run(subject, version) {
      run('mount -t tmpfs tmpfs /var/lib/cni')
      const [pod, config] = [createPod(), small(subject, version)]
      try {
        await add(config, pod)
        run('mount -o remount,ro /var/lib/cni')
        await refused('DEL', config, pod)
        expect((await leftovers()).links).toEqual([])
        run('mount -o remount,rw /var/lib/cni')
        await done('DEL', config, pod)
        await expectNothing(pod)
      } finally {
        run('umount /var/lib/cni')
      }
    },
  },
  {
    id: 'G8d',
    title: 'a lease that was half written when the process was killed is given to the next',
    expectReference: { fails: 'the address is lost', at: /no IP addresses available/ },
    async run(subject, version) {
      const config = bridged(subject, version, {
        ipam: { ...ipamOf(subject), ranges: [[{ ...ADDRESSES, rangeEnd: '10.1.0.2' }]] },
      })
      const [a, b] = [createPod('a'), createPod('b')]
      const lease = '/var/lib/cni/networks/net/10.1.0.2'
      run('mkdir -p /var/lib/cni/networks/net')
      await invokeTraced(
        'ADD',
        config,
        a,
        `-P ${lease} -e trace=write,linkat -e inject=write,linkat:signal=KILL`,
      )
      await done('DEL', config, a)
      await add(config, b)
    },
  },
]

const LOSSES: readonly Case[] = [
  {
    id: 'G9',
    title: 'after a reboot every address is free, though no DEL came',
    expectReference: { fails: 'the leases stay for ever (plugins#252)', at: /no IP addresses available/ },
    async run(subject, version) {
      const config = small(subject, version)
      for (const name of ['a', 'b']) await add(config, createPod(name))
      reboot(['a', 'b'])
      try {
        for (const name of ['c', 'd']) await add(config, createPod(name))
        expect((await leftovers()).leases).toHaveLength(2)
      } finally {
        run('umount /proc/sys/kernel/random/boot_id')
      }
    },
  },
  {
    id: 'G9b',
    title: 'leases that were deleted while pods run are not given to others (rancher#21348)',
    expectReference: { fails: 'two pods get one address', at: /each has an address of its own/ },
    async run(subject, version) {
      const config = bridged(subject, version)
      const given: string[] = []
      for (const name of ['a', 'b']) given.push(...plainAddresses(await add(config, createPod(name))))
      run('rm -r /var/lib/cni/networks')
      for (const name of ['c', 'd']) given.push(...plainAddresses(await add(config, createPod(name))))
      expect(new Set(given).size, 'each has an address of its own').toBe(4)
    },
  },
  {
    id: '7',
    title: 'a plugin that its runtime kills while it waits for IPAM leaves nothing after DEL',
    expectReference: 'passes',
    async run(subject, version) {
      const { pod, config } = await killWhileWaiting(subject, version)
      await done('DEL', config, pod)
      await expectNothing(pod)
    },
  },
  {
    id: '7b',
    title: 'and the next ADD works without a DEL between',
    expectReference: { fails: 'its own leftover: eth0 already exists', at: /already exists/ },
    async run(subject, version) {
      const { pod, config } = await killWhileWaiting(subject, version)
      await add(config, pod)
    },
  },
  {
    id: '45',
    title:
      'a runtime that was killed calls DEL with less than ADD had: no namespace, no arguments, no result',
    expectReference: 'passes',
    async run(subject, version) {
      const [pod, config] = [createPod(), bridged(subject, version)]
      await add(config, pod, { args: 'IgnoreUnknown=1;IP=10.1.0.9;K8S_POD_NAME=web' })
      run(`ip -n ${pod.name} link delete eth0; ip netns delete ${pod.name}`)
      await done('DEL', config, pod, { netns: '', args: '' })
      await expectNothing(pod)
    },
  },
]

/** An ADD whose IPAM plugin did not answer before the runtime lost patience. The next call of it answers. */
async function killWhileWaiting(subject: Subject, version: Version): Promise<{ pod: Pod; config: Config }> {
  const pod = createPod()
  run('mkfifo /var/lib/cni/started /var/lib/cni/never')
  const type = writeDelegate(
    'hanging',
    '[ $CNI_COMMAND = DEL ] || { echo x >/var/lib/cni/started; read _ </var/lib/cni/never; }',
  )
  const config = bridged(subject, version, { ipam: { ...ipamOf(subject), type } })
  const controller = new AbortController()
  const answer = invoke('ADD', config, pod, { abort: controller.signal })
  run('read _ </var/lib/cni/started')
  controller.abort()
  expect((await answer).signal).toBe('SIGKILL')
  run('echo >/var/lib/cni/never')
  return { pod, config: bridged(subject, version) }
}

/** Another boot id, no namespace, no link, no rule; the disk as it was. */
function reboot(pods: readonly string[]): void {
  for (const name of pods) removeNetns(name)
  enterFreshNetwork()
  run(`echo 11111111-2222-3333-4444-555555555555 >/run/boot_id
    mount --bind /run/boot_id /proc/sys/kernel/random/boot_id`)
}

const CROWDS: readonly Case[] = [
  {
    id: 'G2',
    title: 'twenty ADDs at once make one bridge and twenty addresses; twenty DELs at once leave nothing',
    expectReference: 'passes',
    async run(subject, version) {
      const config = bridged(subject, version, { ipMasq: true })
      const pods = Array.from({ length: 20 }, (_, i) => createPod(`pod${i}`))
      const results = await Promise.all(pods.map((pod) => add(config, pod)))
      expect(new Set(results.map(({ ips }) => ips?.[0]?.address)).size).toBe(20)
      expect(run('ip -o link show master cni0').split('\n')).toHaveLength(20)
      await Promise.all(pods.map((pod) => done('DEL', config, pod)))
      expect(await leftovers(...pods.map(({ containerId }) => containerId))).toEqual(NO_LEFTOVERS)
    },
  },
  {
    id: 'G17',
    title: 'with 20000 leases in the store an ADD opens few of them',
    expectReference: { fails: 'it reads every lease', at: /few leases are opened/ },
    async run(subject, version) {
      run(`mkdir -p /var/lib/cni/networks/net; cd /var/lib/cni/networks/net
        for i in $(seq 0 79); do for j in $(seq 2 251); do printf 'other\\r\\neth0' >10.1.$i.$j; done; done
        printf 10.1.79.251 >last_reserved_ip.0`)
      const config = bridged(subject, version, {
        ipam: { ...ipamOf(subject), ranges: [[{ subnet: '10.1.0.0/16' }]] },
      })
      // The first one of a store that host-local made gets to know it.
      await add(config, createPod('a'))
      await invokeTraced('ADD', config, createPod('b'), '-e trace=open,openat,openat2', '/run/opened')
      const opened = run('grep -c "networks/net/10" /run/opened || true')
      expect(Number(opened), 'few leases are opened').toBeLessThan(50)
      expect((await leftovers()).leases).toHaveLength(20_002)
    },
  },
]

conform(...KILLS, ...DISKS, ...LOSSES, ...CROWDS)
