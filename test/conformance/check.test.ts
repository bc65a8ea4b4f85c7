import { expect } from 'vitest'
import {
  type Case,
  conform,
  type Expectation,
  type Subject,
  type Version,
  versionsFrom,
} from '../support/conformance/cases.ts'
import {
  add,
  bridged,
  type Config,
  createPod,
  done,
  freshNode,
  ipamOf,
  type Pod,
  refused,
  routed,
  SUBNET4,
  SUBNET6,
  useNode,
  writeDelegate,
} from '../support/conformance/node.ts'
import type { PluginOutput } from '../support/node/plugin.ts'
import { run } from '../support/node/private_namespaces.ts'

// CHECK: it passes right after ADD and whatever others do beside, and fails on what of ours is missing or wrong.
useNode()

type Attached = {
  readonly pod: Pod
  readonly result: PluginOutput
  readonly checked: Config
  readonly port: string
}

/** ADD, and the configuration that a runtime hands to CHECK afterwards. */
async function attach(config: Config): Promise<Attached> {
  const pod = createPod()
  const result = await add(config, pod)
  const port = result.interfaces?.find(({ name }) => name.startsWith('veth'))?.name ?? ''
  return { pod, result, port, checked: { ...config, prevResult: result } }
}

function dualStack(subject: Subject, version: Version): Config {
  const ipam = ipamOf(subject, [SUBNET4, SUBNET6])
  return bridged(subject, version, { ipMasq: true, ipam })
}

const NETWORKS: readonly { id: string; what: string; config: (s: Subject, v: Version) => Config }[] = [
  {
    id: 'a',
    what: 'IPv4',
    config: (s, v) => bridged(s, v, { isDefaultGateway: true, ipam: { ...ipamOf(s), routes: [] } }),
  },
  { id: 'b', what: 'IPv6', config: (s, v) => bridged(s, v, { ipam: ipamOf(s, [SUBNET6]) }) },
  {
    id: 'c',
    what: 'both, with every option',
    config: (s, v) => ({ ...dualStack(s, v), hairpinMode: true, mtu: 1400 }),
  },
  {
    id: 'd',
    what: 'both, without a bridge',
    config: (s, v) => ({ ...routed(s, v), ipMasq: true, ipam: ipamOf(s, [SUBNET4, SUBNET6]) }),
  },
  { id: 'e', what: 'a promiscuous bridge', config: (s, v) => bridged(s, v, { promiscMode: true }) },
]

const PASSES: readonly Case[] = [
  ...NETWORKS.map(
    ({ id, what, config }): Case => ({
      id: `17${id}`,
      title: `passes right after ADD: ${what}`,
      versions: versionsFrom('0.4.0'),
      expectReference: 'passes',
      async run(subject, version) {
        const { pod, checked } = await attach(config(subject, version))
        await done('CHECK', checked, pod)
        await done('DEL', checked, pod)
      },
    }),
  ),
  {
    id: '17f',
    title: 'passes on a network without addresses',
    expectReference: 'passes',
    async run(subject, version) {
      const { pod, checked } = await attach(bridged(subject, version, { ipam: {}, isGateway: false }))
      await done('CHECK', checked, pod)
    },
  },
  {
    id: '17g',
    title: 'is refused without prevResult, and after DEL',
    expectReference: 'passes',
    async run(subject, version) {
      const config = bridged(subject, version)
      const { pod, checked } = await attach(config)
      await refused('CHECK', config, pod)
      await done('DEL', checked, pod)
      await refused('CHECK', checked, pod)
    },
  },
  {
    id: '17h',
    title: 'passes on the error of a delegate',
    expectReference: 'passes',
    async run(subject, version) {
      const { pod, checked } = await attach(bridged(subject, version))
      const type = writeDelegate('doubting', `echo '{"code":88,"msg":"where is it"}'; exit 1`)
      const ipam = { ...ipamOf(subject), type }
      expect((await refused('CHECK', { ...checked, ipam }, pod)).text).toContain('where is it')
    },
  },
]

/** Something that another program or a person does, which is not the business of CHECK. */
const HARMLESS: readonly {
  what: string
  expectReference: Expectation
  touch: (attached: Attached) => string
}[] = [
  {
    what: 'udev gave the host interface another MAC (plugins#805)',
    expectReference: { fails: 'CHECK compares the MAC of the host interface', at: /Mac doesn't match/ },
    touch: ({ port }) => `ip link set ${port} address 02:00:00:00:00:77`,
  },
  {
    what: 'someone listens on the bridge (promiscuous)',
    expectReference: { fails: 'CHECK compares promiscuity', at: /Promisc Mode/ },
    touch: () => 'ip link set cni0 promisc on',
  },
  {
    what: 'the bridge has another MAC',
    expectReference: { fails: 'CHECK compares the MAC of the bridge', at: /Mac doesn't match/ },
    touch: () => 'ip link set cni0 address 02:00:00:00:00:78',
  },
  {
    what: 'a later plugin added a route and an address',
    expectReference: 'passes',
    touch: () =>
      'ip -n pod route add 198.51.100.0/24 via 10.1.0.1; ip -n pod address add 10.66.0.1/32 dev eth0',
  },
  {
    what: 'a later plugin renamed no link of ours but added one',
    expectReference: 'passes',
    touch: () =>
      'ip -n pod link add extra0 type veth peer name extra1; ip link add other0 type veth peer name other1',
  },
  {
    what: 'another bridge and other packet filter tables are there',
    expectReference: 'passes',
    touch: () => 'ip link add br9 type bridge; nft add table inet other; iptables -t nat -N SOMEBODY',
  },
]

const IMMUNE: readonly Case[] = HARMLESS.map(({ what, expectReference, touch }, i) => ({
  id: `G11${'abcdef'[i]}`,
  title: `passes though ${what}`,
  expectReference,
  async run(subject, version) {
    const attached = await attach(dualStack(subject, version))
    run(touch(attached))
    await done('CHECK', attached.checked, attached.pod)
  },
}))

/** Something of ours that is missing or wrong, and the word that must tell which. More: test/system/check/repair.test.ts. */
type Damage = {
  readonly what: string
  readonly spoil: (attached: Attached) => string
  readonly named: RegExp
}

const DAMAGES: readonly Damage[] = [
  {
    what: 'one lease of two',
    spoil: () => 'rm /var/lib/cni/networks/net/10.1.0.2',
    named: /10\.1\.0\.2/,
  },
  {
    what: 'a gateway address',
    spoil: () => 'ip address delete 10.1.0.1/24 dev cni0',
    named: /10\.1\.0\.1/,
  },
  {
    what: 'the host interface being up',
    spoil: ({ port }) => `ip link set ${port} down`,
    named: /down/,
  },
  { what: 'the bridge being up', spoil: () => 'ip link set cni0 down', named: /cni0.*down/ },
  { what: 'masquerading', spoil: () => 'nft flush ruleset', named: /masquerad/ },
  {
    what: 'the masquerading of its address',
    spoil: () => 'nft flush map inet bowline subnets4 2>/dev/null || iptables -t nat -F',
    named: /10\.1\.0\.(2|0\/24)/,
  },
]

const NOTICES: readonly Case[] = DAMAGES.map(({ what, spoil, named }, i) => ({
  id: `G11${'opqrst'[i]}`,
  title: `fails when this is missing, and names it: ${what}`,
  expectReference: { fails: 'CHECK does not look', at: /CHECK is refused/ },
  async run(subject, version) {
    const attached = await attach(dualStack(subject, version))
    run(spoil(attached))
    expect((await refused('CHECK', attached.checked, attached.pod)).text).toMatch(named)
  },
}))

const ROUTED: readonly Case[] = [
  {
    id: 'G11u',
    title: 'fails when a routed pod has lost its address, its route or its interface',
    expectReference: 'passes',
    async run(subject, version) {
      for (const loss of [
        'address flush dev eth0 scope global',
        'route delete default',
        'link delete eth0',
      ]) {
        freshNode()
        const { pod, checked } = await attach(routed(subject, version))
        run(`ip -n pod ${loss}`)
        await refused('CHECK', checked, pod)
      }
    },
  },
  {
    id: 'G11v',
    title: 'fails when the node has lost its way to a routed pod',
    expectReference: { fails: 'CHECK does not look', at: /CHECK is refused/ },
    async run(subject, version) {
      const { pod, checked } = await attach(routed(subject, version))
      run('ip route delete 10.1.0.2')
      expect((await refused('CHECK', checked, pod)).text).toContain('10.1.0.2')
    },
  },
]

conform(...PASSES, ...IMMUNE, ...NOTICES, ...ROUTED)
