import { expect } from 'vitest'
import { type Case, conform, type Subject, type Version } from '../support/conformance/cases.ts'
import {
  add,
  asIpam,
  bridged,
  type Config,
  createPod,
  done,
  freshNode,
  ipamOf,
  leftovers,
  NO_LEFTOVERS,
  PLUGINS,
  type Pod,
  reaches,
  refused,
  routed,
  SUBNET4,
  useNode,
  writeDelegate,
} from '../support/conformance/node.ts'
import { run } from '../support/node/private_namespaces.ts'

// GC and STATUS, which the runtime may call since 1.1.0.
useNode()

const KEY = 'cni.dev/valid-attachments'

/** GC where these pods, with their eth0, are the ones that are valid. */
function gc(config: Config, valid: readonly Pod[] | null): Promise<void> {
  const attachments = valid?.map(({ containerId }) => ({ containerID: containerId, ifname: 'eth0' })) ?? null
  return done('GC', { ...config, [KEY]: attachments })
}

/** A network that hides its pods and has two of them. */
async function twoPods(subject: Subject, version: Version): Promise<{ config: Config; a: Pod; b: Pod }> {
  const config = bridged(subject, version, { ipMasq: true })
  const [a, b] = [createPod('a'), createPod('b')]
  for (const pod of [a, b]) await add(config, pod)
  return { config, a, b }
}

const NO_GC = { fails: 'bridge has no GC, and passes it to nobody', at: /what is not valid is gone/ }

async function expectOnly(addresses: readonly string[]): Promise<void> {
  const { links, leases, rules } = await leftovers('10.1.0.2', '10.1.0.3', SUBNET4)
  expect([links.length, leases], 'what is not valid is gone').toEqual([
    addresses.length,
    addresses.map((address) => `networks/net/${address}`),
  ])
  // One element for the subnet serves all pods of it, as long as there is one.
  const isBySubnet = rules.some((rule) => rule.includes(`: goto subnet-${SUBNET4}`))
  const named = rules.flatMap((rule) => rule.match(/10\.1\.0\.[23]/g) ?? [])
  expect(isBySubnet ? addresses.length > 0 : new Set(named), 'rules').toEqual(
    isBySubnet ? true : new Set(addresses),
  )
}

const GC: readonly Case[] = [
  {
    id: '6',
    title: 'GC takes away what is not valid (link, lease, masquerading), and leaves the rest working',
    expectReference: NO_GC,
    async run(subject, version) {
      const { config, b } = await twoPods(subject, version)
      await gc(config, [b])
      await expectOnly(['10.1.0.3'])
      expect(await reaches('10.1.0.1', b)).toBe(true)
    },
  },
  {
    id: '6b',
    title: 'GC with null, as libcni sends it when nothing is valid, takes all away',
    expectReference: NO_GC,
    async run(subject, version) {
      const { config } = await twoPods(subject, version)
      await gc(config, null)
      await expectOnly([])
    },
  },
  {
    id: 'G7',
    title: 'GC with an empty list does the same, and as often as it is called',
    expectReference: NO_GC,
    async run(subject, version) {
      const { config } = await twoPods(subject, version)
      await gc(config, [])
      await gc(config, [])
      await expectOnly([])
    },
  },
  {
    id: 'G7b',
    title: 'GC without the list is refused (code 7), and takes nothing away',
    expectReference: { fails: 'there is no GC: the call succeeds', at: /GC is refused/ },
    async run(subject, version) {
      const { config } = await twoPods(subject, version)
      const { code, text } = await refused('GC', config)
      expect([code, text]).toEqual([7, expect.stringContaining(KEY)])
      await expectOnly(['10.1.0.2', '10.1.0.3'])
    },
  },
  {
    id: 'G7c',
    title: 'GC leaves other networks alone',
    expectReference: 'passes',
    async run(subject, version) {
      await twoPods(subject, version)
      await gc(bridged(subject, version, { name: 'net2' }), null)
      await expectOnly(['10.1.0.2', '10.1.0.3'])
    },
  },
  {
    id: 'G7d',
    title: 'GC tells the interfaces of one container apart',
    expectReference: NO_GC,
    async run(subject, version) {
      const [pod, config] = [createPod(), bridged(subject, version)]
      for (const ifName of ['eth0', 'eth1']) await add(config, pod, { ifName })
      await gc(config, [pod])
      expect((await leftovers()).leases, 'what is not valid is gone').toEqual(['networks/net/10.1.0.2'])
      expect(run(`ip -n ${pod.name} -o link`)).not.toContain('eth1')
    },
  },
  {
    id: 'G7e',
    title: 'GC frees leases that no attachment stands behind: of host-local, or of a lost store',
    expectReference: NO_GC,
    async run(subject, version) {
      run(`mkdir -p /var/lib/cni/networks/net; cd /var/lib/cni/networks/net
        printf 'stray\\r\\neth0' >10.1.0.2; printf 'pod-container\\r\\neth0' >10.1.0.3`)
      await gc(bridged(subject, version), [createPod()])
      expect((await leftovers()).leases, 'what is not valid is gone').toEqual(['networks/net/10.1.0.3'])
    },
  },
  {
    id: 'G7h',
    title:
      'an IPAM plugin by itself frees what is not valid, and no lease of a valid container in the old form',
    expectReference: 'passes',
    async run(subject, version) {
      run(`mkdir -p /var/lib/cni/networks/net; cd /var/lib/cni/networks/net
        printf 'pod-container' >10.1.0.2; printf 'other' >10.1.0.3; printf 'pod-container\\r\\neth1' >10.1.0.4`)
      const valid = { [KEY]: [{ containerID: 'pod-container', ifname: 'eth0' }] }
      await done('GC', { ...bridged(subject, version), ...valid }, undefined, asIpam(subject))
      expect((await leftovers()).leases, 'what is not valid is gone').toEqual(['networks/net/10.1.0.2'])
    },
  },
  {
    id: 'G7i',
    title: 'an IPAM plugin by itself refuses GC without the list (code 7), and frees nothing',
    expectReference: { fails: 'it frees every lease', at: /GC is refused/ },
    async run(subject, version) {
      const config = bridged(subject, version)
      await add(config, createPod())
      expect((await refused('GC', config, undefined, asIpam(subject))).code).toBe(7)
      expect((await leftovers()).leases).toEqual(['networks/net/10.1.0.2'])
    },
  },
  {
    id: 'G7f',
    title: 'GC and STATUS are passed on to a delegate, whose errors come back',
    expectReference: { fails: 'GC is not passed on', at: /the delegate was asked/ },
    async run(subject, version) {
      const log = '/var/lib/cni/asked'
      const type = writeDelegate('logging', `echo $CNI_COMMAND >>${log}; cat >${log}.$CNI_COMMAND`)
      const config = bridged(subject, version, { ipam: { type } })
      await done('STATUS', config)
      await gc(config, [])
      expect(run(`cat ${log}`).split('\n'), 'the delegate was asked').toEqual(['STATUS', 'GC'])
      expect(JSON.parse(run(`cat ${log}.GC`))).toEqual({ ...config, [KEY]: [] })
      writeDelegate('logging', `echo '{"code":77,"msg":"gone fishing"}'; exit 1`)
      expect((await refused('GC', { ...config, [KEY]: [] })).text).toContain('gone fishing')
    },
  },
  {
    id: 'G7g',
    title: 'GC goes on after an error and reports it',
    expectReference: { fails: 'there is no GC: the call succeeds', at: /GC is refused/ },
    async run(subject, version) {
      const { config } = await twoPods(subject, version)
      // A directory in the place of the lease: it can't be removed as a file.
      run('cd /var/lib/cni/networks/net; rm 10.1.0.2; mkdir 10.1.0.2; touch 10.1.0.2/x')
      await refused('GC', { ...config, [KEY]: [] })
      run('rm -r /var/lib/cni/networks/net/10.1.0.2')
      expect((await leftovers('10.1.0.3')).links).toEqual([])
      expect((await leftovers('10.1.0.3')).leases).toEqual([])
    },
  },
]

const ONE_ADDRESS = { ranges: [[{ subnet: SUBNET4, rangeStart: '10.1.0.5', rangeEnd: '10.1.0.5' }]] }

const STATUS: readonly Case[] = [
  {
    id: 'S1',
    title: 'STATUS succeeds where ADD would, before and after pods have come, with and without addresses',
    expectReference: 'passes',
    async run(subject, version) {
      for (const config of [
        bridged(subject, version),
        routed(subject, version),
        bridged(subject, version, { ipam: {} }),
      ]) {
        freshNode()
        await done('STATUS', config)
        await add(config, createPod())
        await done('STATUS', config)
      }
    },
  },
  {
    id: 'G6',
    title: 'a full pool: ADD is refused and leaves nothing, STATUS says 50, GC makes room, ADD works again',
    expectReference: { fails: 'STATUS does not look at the pool', at: /STATUS is refused/ },
    async run(subject, version) {
      const config = bridged(subject, version, { ipam: { ...ipamOf(subject), ...ONE_ADDRESS } })
      const [a, b] = [createPod('a'), createPod('b')]
      await add(config, a)
      const before = await leftovers()
      expect((await refused('STATUS', config)).code).toBe(50)
      expect((await refused('ADD', config, b)).code).toBeGreaterThanOrEqual(100)
      expect(await leftovers()).toEqual(before)
      await gc(config, [])
      await done('STATUS', config)
      await add(config, b)
    },
  },
  {
    id: 'S2',
    title: 'STATUS says 50 where nothing can be written',
    expectReference: { fails: 'STATUS does not look at the store', at: /STATUS is refused/ },
    async run(subject, version) {
      run('mount -t tmpfs -o ro tmpfs /var/lib/cni')
      try {
        expect((await refused('STATUS', bridged(subject, version))).code).toBe(50)
      } finally {
        run('umount /var/lib/cni')
      }
    },
  },
  {
    id: 'S3',
    title: 'STATUS repeats the code of a delegate that says no, 50 or 51',
    expectReference: 'passes',
    async run(subject, version) {
      for (const code of [50, 51]) {
        const type = writeDelegate('refusing', `echo '{"code":${code},"msg":"the lake is dry"}'; exit 1`)
        const answer = await refused('STATUS', bridged(subject, version, { ipam: { type } }))
        expect([answer.code, answer.text]).toEqual([code, expect.stringContaining('the lake is dry')])
      }
    },
  },
  {
    id: 'S4',
    title: 'STATUS refuses a network that ADD would refuse: no such IPAM plugin, no range, a contradiction',
    expectReference: { fails: 'STATUS looks at no key but ipam.type', at: /STATUS is refused/ },
    async run(subject, version) {
      await refused('STATUS', bridged(subject, version, { ipam: { type: 'absent' } }))
      await refused('STATUS', bridged(subject, version, { ipam: { type: subject.ipam } }))
      await refused('STATUS', bridged(subject, version, { hairpinMode: true, promiscMode: true }))
    },
  },
  {
    id: 'S5',
    title: 'STATUS does not wait for one who holds the locks, and changes nothing',
    expectReference: 'passes',
    async run(subject, version) {
      const [pod, config] = [createPod(), bridged(subject, version)]
      await add(config, pod)
      const before = run('cd /var/lib/cni; find . -type f | sort')
      const locks = run('cd /var/lib/cni; find . -name "*lock*" -type f')
        .split('\n')
        .map((path) => `/var/lib/cni/${path}`)
      const holders = locks.map((path) =>
        Bun.spawn(['flock', path, 'sh', '-c', 'echo held; read _'], { stdin: 'pipe', stdout: 'pipe' }),
      )
      for (const { stdout } of holders) await stdout.getReader().read()
      await done('STATUS', config, undefined, { timeoutMs: 5_000 })
      for (const holder of holders) {
        holder.stdin.end()
        await holder.exited
      }
      expect(run('cd /var/lib/cni; find . -type f | sort')).toBe(before)
    },
  },
  {
    id: 'S6',
    title: 'ADD and DEL are served whatever STATUS said',
    expectReference: 'passes',
    async run(subject, version) {
      const type = writeDelegate(
        'moody',
        `[ $CNI_COMMAND != STATUS ] || { echo '{"code":50,"msg":"no"}'; exit 1; }; exec ${PLUGINS}/host-local`,
      )
      const [pod, config] = [createPod(), bridged(subject, version, { ipam: { ...ipamOf(subject), type } })]
      await refused('STATUS', config)
      await add(config, pod)
      await done('DEL', config, pod)
      expect(await leftovers()).toEqual(NO_LEFTOVERS)
    },
  },
]

conform(...GC, ...STATUS)
