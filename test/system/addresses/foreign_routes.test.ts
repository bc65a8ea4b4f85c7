import { describe, expect, it } from 'vitest'
import { run } from '../../support/node/private_namespaces.ts'
import {
  call,
  EVERY,
  expectReachable,
  expectRefusal,
  expectWorkingPod,
  type NodeFamily,
  network,
  routesOfNode,
  useRoutedNode,
} from '../../support/node/routed_node.ts'

/*
 * What the node reaches otherwise is not taken from it, and what stands in the way of a pod is named. Every case is tried
 * in both modes and both families.
 */
useRoutedNode()

type Case = {
  /** What an administrator, or another program, has done before. */
  readonly before?: (family: NodeFamily) => string
  readonly range: (family: NodeFamily) => object
  /** The route that the refusal names. */
  readonly route: (family: NodeFamily) => string
}

const ofPods = ({ subnet }: NodeFamily) => ({ subnet })
const host = ({ first, length }: NodeFamily) => `${first}/${length}`

/** The uplink becomes the port of a bridge, which has the address of the node. */
function onBridge({ node, lan, router }: NodeFamily): string {
  const cidr = `${node}/${lan.split('/')[1]}`
  return `ip link add lan0 type bridge; ip link set lan0 up; ip addr del ${cidr} dev up0; ip link set up0 master lan0
    ip addr add ${cidr} dev lan0 ${node.includes(':') ? 'nodad' : ''}; ip route replace default via ${router}`
}

/** An ADD that would take something. */
const TAKEN: Record<string, Case> = {
  'the router of the node as gateway': {
    range: ({ lan, router }) => ({ subnet: lan, gateway: router }),
    route: ({ lan }) => `${lan} dev up0`,
  },
  'a neighbour of the node as gateway': {
    range: ({ lan, router }) => ({ subnet: lan, gateway: router.replace(/1$/, '7') }),
    route: ({ lan }) => `${lan} dev up0`,
  },
  "a network that the node is in with the gateway's address": {
    range: ({ lan, node }) => ({ subnet: lan, gateway: node }),
    route: ({ lan }) => `${lan} dev up0`,
  },
  'such a network without a router': {
    before: ({ gateway, subnet }) =>
      `ip addr add ${gateway}/${subnet.split('/')[1]} dev old0 ${gateway.includes(':') ? 'nodad' : ''}`,
    range: ofPods,
    route: ({ subnet }) => `${subnet} dev old0`,
  },
  'such a network by a bridge that the node lives by': {
    before: onBridge,
    range: ({ lan, node }) => ({ subnet: lan, gateway: node }),
    route: ({ lan }) => `${lan} dev lan0`,
  },
  'a router without a network': {
    before: ({ router, node, lan, length }) =>
      `ip addr del ${node}/${lan.split('/')[1]} dev up0; ip addr add ${node}/${length} dev up0
       ip route replace ${router} dev up0; ip route replace default via ${router} dev up0`,
    range: ({ lan, router }) => ({ subnet: lan, gateway: router }),
    route: ({ router, length }) => `${router}/${length} dev up0`,
  },
  'a router that is known by its default route alone': {
    before: ({ family, router, node, lan, length }) =>
      `ip addr del ${node}/${lan.split('/')[1]} dev up0; ip addr add ${node}/${length} dev up0
       ip -${family} route replace default via ${router} dev up0 onlink`,
    range: ({ lan, router }) => ({ subnet: lan, gateway: router }),
    route: ({ router }) => `default via ${router} dev up0`,
  },
  'a part of a network that the node is in': {
    before: ({ subnet, gateway, half }) =>
      `ip addr add ${gateway.replace(/1$/, '9')}/${Number(subnet.split('/')[1]) - 8} dev old0; : ${half}`,
    range: ofPods,
    route: () => 'dev old0',
  },
  'a subnet that has a router': {
    before: ({ subnet, router }) => `ip route add ${subnet} via ${router}`,
    range: ofPods,
    route: ({ subnet, router }) => `${subnet} via ${router} dev up0`,
  },
  'a subnet that has two routers': {
    before: ({ subnet, router }) =>
      `ip route add ${subnet} nexthop via ${router} dev up0 nexthop via ${router.replace(/1$/, '7')} dev up0`,
    range: ofPods,
    route: ({ subnet, router }) => `${subnet} nexthop via ${router.slice(0, -1)}`,
  },
  'a subnet with a next hop object': {
    before: ({ family, subnet, router }) =>
      `ip -${family} nexthop add id 7 via ${router} dev up0; ip route add ${subnet} nhid 7`,
    range: ofPods,
    route: ({ subnet }) => `${subnet} nhid 7`,
  },
  'a subnet that a policy rule sends elsewhere': {
    before: ({ family, subnet, router }) =>
      `ip route add ${subnet} via ${router} table 100; ip -${family} rule add to ${subnet} lookup 100`,
    range: ofPods,
    route: ({ subnet, router }) => `${subnet} via ${router} dev up0 table 100`,
  },
  'the address of a host that is up': {
    before: (family) => `ip route add ${host(family)} dev old0`,
    range: ofPods,
    route: (family) => `${host(family)} dev old0`,
  },
  'an address that a policy rule sends elsewhere': {
    before: (family) =>
      `ip route add ${host(family)} dev old0 table 100; ip -${family.family} rule add to ${host(family)} lookup 100`,
    range: ofPods,
    route: (family) => `${host(family)} dev old0 table 100`,
  },
  'an address that has two routers': {
    before: (family) =>
      `ip route add ${host(family)} nexthop via ${family.router} nexthop via ${family.router.replace(/1$/, '7')}`,
    range: ofPods,
    route: (family) => `${host(family)} nexthop via ${family.router.slice(0, -1)}`,
  },
  'an address that is dropped': {
    before: (family) => `ip route add blackhole ${host(family)} metric 0`,
    range: ofPods,
    route: (family) => `blackhole ${host(family)}`,
  },
  'an address for which the search of the table ends': {
    before: (family) => `ip route add throw ${host(family)}`,
    range: ofPods,
    route: (family) => `throw ${host(family)}`,
  },
  'an address that a policy rule drops': {
    before: (family) => `ip -${family.family} rule add to ${host(family)} prohibit`,
    range: ofPods,
    route: ({ first }) => `${first}: a policy rule of the node drops`,
  },
}

describe.each(Object.entries(TAKEN))(
  'an ADD that would take %s is refused',
  (_, { before, range, route }) => {
    it.each(EVERY)('in mode %s, and names what is in the way: %o', async (mode, family) => {
      run(before?.(family) ?? ':')
      const config = network(mode, range(family))
      const { details } = await expectRefusal(config, 7, [route(family)])
      // Nobody is told to remove what the node lives by.
      expect(details ?? '').not.toMatch(/route del (default|\S+ dev (up0|lan0))/)
      const isOfOneAddress = route(family).includes(family.first)
      expect((await call('STATUS', config)).output.code).toBe(isOfOneAddress ? undefined : 50)
    })
  },
)

/** What is wider than the pods' subnet, or is left over, takes nothing and is no hindrance. */
const HARMLESS: Record<string, (family: NodeFamily) => string> = {
  'a wide route by a router': ({ wide, router }) => `ip route add ${wide} via ${router}`,
  'the blackhole of a routing daemon for the range of the node': ({ subnet }) =>
    `ip route add blackhole ${subnet}`,
  'an unreachable part of the range': ({ half }) => `ip route add unreachable ${half}`,
  'the tunnel to the pods of other nodes': ({ wide }) =>
    `ip tuntap add tun0 mode tun; ip link set tun0 up; ip route add ${wide} dev tun0`,
  'a route to the address by a link that is down': (family) =>
    `ip link set old1 down; ip route add ${host(family)} dev old0`,
  'a worse route to the address by such a link': (family) =>
    `ip link set old1 down; ip route add ${host(family)} dev old0 metric 2000`,
  "another plugin's bridge, on which the node is the same gateway": ({ gateway, subnet }) =>
    `ip link add cni9 type bridge; ip link set cni9 up; ip addr add ${gateway}/${subnet.split('/')[1]} dev cni9 nodad
     ip link set old1 master cni9`,
  'no route at all': ({ family }) => `ip -${family} route del default`,
}

describe.each(Object.entries(HARMLESS))('%s', (_, before) => {
  it.each(EVERY)('is no hindrance in mode %s: %o', async (mode, family) => {
    run(before(family))
    // What the kernel itself does for links of others comes when it comes.
    const routesOfOurs = () => routesOfNode().filter((line) => !/old0|cni9/.test(line))
    const routes = routesOfOurs()
    const config = network(mode, ofPods(family))
    expect((await call('STATUS', config)).stdout).toBe('')
    await expectWorkingPod(config, family, family.first)
    expect((await call('DEL', config)).stdout).toBe('')
    run('ip link del br0 2>&1 || true')
    expect(routesOfOurs()).toEqual(routes)
  })
})

it.each(EVERY)(
  'an ADD in mode %s that fails puts the left-over route back that it had replaced: %o',
  async (mode, family) => {
    run(`ip link set old1 down; ip route add ${host(family)} dev old0 proto 99 mtu lock 1300`)
    const other = family.family === 4 ? 'fd99::/64' : '10.99.0.0/24'
    const ipam = {
      type: 'bowline-ipam',
      ranges: [[ofPods(family)], [{ subnet: other }]],
      // No route can have this scope, and the pod's come last.
      routes: [{ dst: '10.9.0.0/24', scope: 255 }],
    }
    await expectRefusal(network(mode, {}, { ipam }), 999, ['add route 10.9.0.0/24'])
  },
)

describe('CHECK', () => {
  /** In front of ours: in IPv4 one cannot be better, but stand first. */
  const inFront = ({ family }: NodeFamily, route: string) =>
    family === 4 ? `ip route prepend ${route}` : `ip route add ${route} metric 1`
  const ASTRAY: Record<string, (family: NodeFamily) => string> = {
    'a route to the pod by another link': (family) => inFront(family, `${host(family)} dev old0`),
    'a route that drops what is for the pod': (family) => inFront(family, `blackhole ${host(family)}`),
    'a route that ends the search of the table': (family) => inFront(family, `throw ${host(family)}`),
    'a route that drops it in place of ours': (family) =>
      `ip -${family.family} route flush exact ${host(family)}; ip route add blackhole ${host(family)}`,
    'a policy rule with a table of its own': (family) =>
      `ip route add ${host(family)} dev old0 table 100; ip -${family.family} rule add to ${host(family)} lookup 100`,
  }
  const CASES = Object.entries(ASTRAY).flatMap(([what, before]) =>
    EVERY.map(([mode, family]) => ({ what, before, mode, family, version: family.family })),
  )
  it.each(CASES)(
    'names $what that comes first, and the command that removes it (mode $mode, IPv$version)',
    async ({ before, mode, family }) => {
      const checked = await expectWorkingPod(network(mode, ofPods(family)), family, family.first)
      run(before(family))
      const { output } = await call('CHECK', checked)
      expect(output).toMatchObject({ code: 102 })
      expect(output.details).toContain(`what the node sends to ${family.first} does not leave by`)
      for (const [, command = ''] of (output.details ?? '').matchAll(/\[run: (.*?)\]/g)) run(command)
      await expectReachable(family, family.first)
    },
  )
})
