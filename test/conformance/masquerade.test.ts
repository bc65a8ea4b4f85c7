import { rmSync, writeFileSync } from 'node:fs'
import { expect } from 'vitest'
import { type Case, conform, type Subject, type Version } from '../support/conformance/cases.ts'
import {
  add,
  answersAtOnce,
  bridged,
  type Config,
  createPod,
  done,
  freshNode,
  ipamOf,
  leftovers,
  NO_LEFTOVERS,
  type Pod,
  reaches,
  routed,
  rulesNaming,
  SUBNET4,
  SUBNET6,
  useNode,
} from '../support/conformance/node.ts'
import { run } from '../support/node/private_namespaces.ts'
import { createOutside, removeNetns } from '../support/node/sandbox.ts'

// Masquerading and the check for spoofed MACs: that they work, and that DEL ends them whatever became of the pod.
useNode()

const ADDRESSES = ['10.1.0.2', 'fd00:1::2']
const SUBNETS = ['10.1.0.0/24', 'fd00:1::/64']
const OUTSIDE = ['192.0.2.2', '2001:db8::2']

/** A dual-stack network that masquerades. */
function masquerading(subject: Subject, version: Version, more: Record<string, unknown> = {}): Config {
  return bridged(subject, version, { ipMasq: true, ipam: ipamOf(subject, [SUBNET4, SUBNET6]), ...more })
}

/** The life of a pod which the outside can answer only if its address is hidden. */
async function masqueradedLife(config: Config): Promise<void> {
  createOutside()
  const pod = createPod()
  await add(config, pod)
  for (const address of OUTSIDE) expect([address, await reaches(address, pod)]).toEqual([address, true])
  expect(rulesNaming([...ADDRESSES, ...SUBNETS]), 'there are rules').not.toEqual([])
  await done('DEL', config, pod)
  expect(await leftovers(...ADDRESSES, ...SUBNETS)).toEqual(NO_LEFTOVERS)
}

const BACKENDS = ['', 'iptables', 'nftables'] as const

const MASQUERADE: readonly Case[] = [
  ...BACKENDS.map(
    (backend, i): Case => ({
      id: `16${'abc'[i]}`,
      title: `ipMasq with ipMasqBackend ${backend || 'absent'} hides a pod from the outside, and ends with it`,
      expectReference: 'passes',
      run: (subject, version) =>
        masqueradedLife(masquerading(subject, version, backend ? { ipMasqBackend: backend } : {})),
    }),
  ),
  {
    id: '16d',
    title: 'the same on a network without a bridge',
    versions: ['0.2.0', '1.1.0'],
    expectReference: 'passes',
    run: (subject, version) =>
      masqueradedLife(routed(subject, version, { ipMasq: true, ipam: ipamOf(subject, [SUBNET4, SUBNET6]) })),
  },
  {
    id: '16e',
    title: 'without ipMasq the outside sees the address of the pod, and there is no rule',
    expectReference: 'passes',
    async run(subject, version) {
      createOutside()
      const pod = createPod()
      await add(masquerading(subject, version, { ipMasq: false }), pod)
      expect(await answersAtOnce(OUTSIDE[0] ?? '', pod)).toBe(false)
      expect(rulesNaming([...ADDRESSES, ...SUBNETS])).toEqual([])
    },
  },
  {
    id: 'G10b',
    title: 'DEL of one interface of a container leaves the masquerading of its other one alone',
    expectReference: {
      fails: 'DEL fails: both interfaces share one iptables chain',
      at: /DEL succeeds.*CHAIN_DEL/s,
    },
    async run(subject, version) {
      createOutside()
      const pod = createPod()
      const config = bridged(subject, version, { ipMasq: true })
      for (const ifName of ['eth0', 'eth1'])
        await add({ ...config, ipam: { ...ipamOf(subject), routes: [] } }, pod, { ifName })
      run(`ip -n ${pod.name} route add default via 10.1.0.1 dev eth0`)
      await done('DEL', config, pod, { ifName: 'eth1' })
      expect(await reaches(OUTSIDE[0] ?? '', pod), 'eth0 is still hidden').toBe(true)
    },
  },
]

/** What may have become of a namespace when DEL comes; returns the CNI_NETNS of that DEL. */
const LOSSES: readonly { what: string; lose: (pod: Pod) => string }[] = [
  {
    what: 'CNI_NETNS is empty, and the namespace is gone',
    lose(pod) {
      endNamespace(pod)
      return ''
    },
  },
  {
    what: 'the namespace is gone, and its path too',
    lose(pod) {
      endNamespace(pod)
      return pod.path
    },
  },
  {
    what: 'the path is a plain file: its namespace was unmounted',
    lose(pod) {
      endNamespace(pod)
      writeFileSync(pod.path, '')
      return pod.path
    },
  },
]

/** Removes the namespace. The kernel takes links apart in its own time: returns when the host ends are gone. */
function endNamespace({ name }: Pod): void {
  removeNetns(name)
  run('for i in $(seq 500); do [ "$(ip -o link show type veth)" ] || break; sleep 0.01; done')
}

/** A pod's DEL after the loss; what is left then. */
async function delAfterLoss(config: Config, lose: (pod: Pod) => string): Promise<void> {
  const pod = createPod()
  await add(config, pod)
  const netns = lose(pod)
  await done('DEL', config, pod, { netns })
  rmSync(pod.path, { force: true })
  expect(await leftovers(...ADDRESSES, ...SUBNETS, pod.containerId), 'nothing is left').toEqual(NO_LEFTOVERS)
}

const WITHOUT_NAMESPACE: readonly Case[] = LOSSES.flatMap(({ what, lose }, i): Case[] => [
  {
    id: `G3${'abc'[i]}`,
    title: `DEL frees the address when ${what}`,
    expectReference: i === 2 ? { fails: 'DEL fails', at: /DEL succeeds/ } : 'passes',
    async run(subject, version) {
      for (const config of [bridged(subject, version), routed(subject, version)]) {
        freshNode()
        await delAfterLoss(config, lose)
      }
    },
  },
  {
    id: `G3${'def'[i]}`,
    title: `DEL ends ipMasq and macspoofchk when ${what}`,
    expectReference: {
      fails: i === 2 ? 'DEL fails' : 'the rules stay (plugins#810)',
      at: /nothing is left|DEL succeeds/,
    },
    async run(subject, version) {
      await delAfterLoss(masquerading(subject, version, { macspoofchk: true }), lose)
      expect(run('nft list ruleset'), 'nothing is left').not.toMatch(/drop|masquerade/)
    },
  },
])

const SPOOF: readonly Case[] = [
  {
    id: '18',
    title: 'macspoofchk lets through what has the MAC of the pod, and drops what has another',
    versions: ['0.1.0', '1.1.0'],
    expectReference: 'passes',
    async run(subject, version) {
      const pod = createPod()
      await add(bridged(subject, version, { macspoofchk: true }), pod)
      expect(await reaches('10.1.0.1', pod), 'its own MAC').toBe(true)
      run(`ip -n ${pod.name} link set eth0 address 02:00:00:00:00:99; ip neigh flush all`)
      expect(await answersAtOnce('10.1.0.1', pod), 'another MAC').toBe(false)
    },
  },
]

conform(...MASQUERADE, ...WITHOUT_NAMESPACE, ...SPOOF)
