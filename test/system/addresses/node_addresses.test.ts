import { describe, expect, it } from 'vitest'
import { run } from '../../support/node/private_namespaces.ts'
import {
  call,
  EVERY,
  expectRefusal,
  expectWorkingPod,
  FAMILIES,
  MODES,
  type NodeFamily,
  network,
  useRoutedNode,
} from '../../support/node/routed_node.ts'

/* An address of the node is no pod's: the pool passes it over, and who asks for it by name is refused. */
useRoutedNode()

const OWN: Record<string, (family: NodeFamily) => string> = {
  // The kernel makes a local route of IPv6 in its own time.
  'on lo': ({ first, length }) =>
    `ip addr add ${first}/${length} dev lo; until ip route get ${first} | grep -q ^local; do sleep 0.01; done`,
  'on another link, beside others': ({ first, length }) =>
    `ip addr add ${first}/${length} dev up0 ${first.includes(':') ? 'nodad' : ''}`,
  'on a link that is down': ({ first, length }) =>
    `ip link add down0 type veth peer name down1; ip addr add ${first}/${length} dev lo`,
  'that duplicate detection still holds': ({ first, length }) =>
    `sysctl -qw net.ipv6.conf.old0.accept_dad=1 net.ipv6.conf.old0.dad_transmits=100
     ip addr add ${first}/${length} dev old0`,
  'of a whole range that is local': ({ first, length }) => `ip route add local ${first}/${length - 1} dev lo`,
}

describe.each(Object.entries(OWN))('an address of the node %s', (what, give) => {
  it.each(EVERY)('is passed over by the pool in mode %s: %o', async (mode, family) => {
    run(give(family))
    const next = what.startsWith('of a whole range') ? family.second.replace(/3$/, '4') : family.second
    await expectWorkingPod(network(mode, { subnet: family.subnet }), family, next)
  })

  it.each(EVERY)('is refused by name in mode %s when it is asked for: %o', async (mode, family) => {
    run(give(family))
    const config = network(mode, { subnet: family.subnet }, { runtimeConfig: { ips: [family.first] } })
    const words = [`${family.first} is an address of the node itself`]
    await expectRefusal({ ...config, capabilities: { ips: true } }, 101, words)
  })
})

/** No more than the router is known of its network: it is the lowest address that the pool has. */
const ROUTERS: Record<string, (family: NodeFamily) => string> = {
  'the router of the node': ({ family, node, lan, length, router }) =>
    `ip addr del ${node}/${lan.split('/')[1]} dev up0; ip addr add ${node}/${length} dev lo
     ip -${family} route replace default via ${router} dev up0 onlink`,
  'one of two routers of the node': ({ family, node, lan, length, router }) =>
    `ip addr del ${node}/${lan.split('/')[1]} dev up0; ip addr add ${node}/${length} dev lo
     ip -${family} route replace default nexthop via ${router} dev up0 onlink nexthop via ${node}7 dev up0 onlink`,
}

describe.each(Object.entries(ROUTERS))('%s', (_, give) => {
  const rangeOf = ({ lan, router, node }: NodeFamily) => ({
    subnet: lan,
    gateway: node.replace(/10$/, '99'),
    rangeStart: router,
  })

  it.each(FAMILIES)('is passed over by the pool ($family)', async (family) => {
    run(give(family))
    const { output, stdout } = await call('ADD', network('l3', rangeOf(family)))
    expect(output.ips?.[0]?.address.split('/')[0], stdout).toBe(family.router.replace(/1$/, '2'))
  })

  it.each(EVERY)('is refused by name in mode %s: %o', async (mode, family) => {
    run(give(family))
    const config = network(mode, rangeOf(family), { runtimeConfig: { ips: [family.router] } })
    await expectRefusal(config, 101, [`${family.router} is a router of the node, by route default`])
    const address = `${family.router}/${family.lan.split('/')[1]}`
    const ipam = { type: 'static', addresses: [{ address }] }
    await expectRefusal(network(mode, {}, { ipam }), 101, ['plugin static gave', 'is a router of the node'])
  })
})

it.each(FAMILIES)('a router of any route is no pod of the bridge that it is on ($family)', async (family) => {
  const { lan, node, router } = family
  const cidr = `${node}/${lan.split('/')[1]}`
  const [second, third, fourth] = ['2', '3', '4'].map((end) => router.replace(/1$/, end))
  const far = family.family === 4 ? '10.9.0.0/24' : 'fd09::/64'
  run(`ip link add lan0 type bridge; ip link set lan0 up; ip addr del ${cidr} dev up0; ip link set up0 master lan0
    ip addr add ${cidr} dev lan0 ${node.includes(':') ? 'nodad' : ''}; ip route replace default via ${router}
    ip route add ${far} via ${second} table 77`)
  const config = network('l2', { subnet: lan, gateway: node }, { bridge: 'lan0', isGateway: false })
  const given = [await call('ADD', config), await call('ADD', config, 'pod-b')]
  expect(given.map(({ output }) => output.ips?.[0]?.address.split('/')[0])).toEqual([third, fourth])
})

it.each(FAMILIES)(
  'IPAM alone passes an address of the node over, and refuses it by name ($family)',
  async (family) => {
    run(OWN['on lo']?.(family) ?? '')
    const config = { ...network('l3', { subnet: family.subnet }), type: 'macvlan' }
    const given = await call('ADD', config, 'pod-a', { calledAs: 'bowline-ipam' })
    expect(given.output.ips?.[0]?.address).toBe(`${family.second}/${family.subnet.split('/')[1]}`)
    const asked = await call('ADD', config, 'pod-b', { calledAs: 'bowline-ipam', args: `IP=${family.first}` })
    expect(asked.output).toMatchObject({ code: 101 })
    expect(asked.output.msg).toContain(`${family.first} is an address of the node itself`)
  },
)

describe.each(MODES)('mode %s', (mode) => {
  it.each(FAMILIES)(
    'refuses an address of the node that another IPAM plugin gave ($family)',
    async (family) => {
      run(OWN['on lo']?.(family) ?? '')
      const address = `${family.first}/${family.subnet.split('/')[1]}`
      const ipam = { type: 'static', addresses: [{ address, gateway: family.gateway }] }
      await expectRefusal(network(mode, {}, { ipam }), 101, [
        'plugin static gave an address',
        `${family.first} is an address of the node itself`,
      ])
    },
  )

  it.each(FAMILIES)('has no pod left to give when all of a range is the node’s ($family)', async (family) => {
    const range = { subnet: family.subnet, rangeStart: family.first, rangeEnd: family.first }
    run(OWN['on lo']?.(family) ?? '')
    await expectRefusal(network(mode, range), 100, [`the node itself has ${family.first}/${family.length}`])
    expect((await call('STATUS', network(mode, range))).output).toMatchObject({ code: 50 })
  })

  it.each(FAMILIES)('CHECK says that the node has taken the address of a pod ($family)', async (family) => {
    const checked = await expectWorkingPod(network(mode, { subnet: family.subnet }), family, family.first)
    run(OWN['on lo']?.(family) ?? '')
    const { output } = await call('CHECK', checked)
    expect(output).toMatchObject({ code: 102 })
    expect(output.msg).toContain(`${family.first} is an address of the node itself, on lo`)
  })
})
