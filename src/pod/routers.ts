import { type Address, formatAddress, sameAddress } from '../core/address.ts'
import { Code, Fault } from '../core/errors.ts'
import { distinct } from '../core/text.ts'
import type { Netns, Way } from '../kernel/kernel.ts'
import { describeWay } from './describe_way.ts'
import { elsewhere } from './uplink.ts'
import { isExact, type Ways } from './ways.ts'

/*
 * The routers of the node. They are in the node's own networks, whose addresses a pool may hold, and none of them is a pod's:
 * the node would send to the pod what is for everybody else.
 */

/** What has to be asked beside the ways to some addresses, in the same round trip, to know the node's way out. */
export function wayOutQuestions(addresses: readonly Address[]): Address[] {
  return distinct(
    addresses.map(({ family }) => elsewhere(family)),
    formatAddress,
  )
}

/** The links that the node's way out leaves by: what is there is not ours. */
export function wayOutLinks(ways: Ways, { family }: Address): number[] {
  return ways(elsewhere(family))?.hops.map(({ linkIndex }) => linkIndex) ?? []
}

/** Whether the node's way out of either family leaves by the link: what is said to do to it may cut the node off. */
export function livesBy(host: Netns, linkIndex: number): boolean {
  const ways = host.ways([elsewhere(4), elsewhere(6)])
  return ways.some(({ hops }) => hops.some((hop) => hop.linkIndex === linkIndex))
}

/**
 * Those of the addresses that are next hops of the node, each with a route that leads by it. All routes are asked for
 * only where an address is in the network that the node's way out begins in.
 */
export function routersAmong(
  host: Netns,
  addresses: readonly Address[],
  ways: Ways,
): { address: Address; way: Way }[] {
  return addresses.flatMap((address) => {
    const out = ways(elsewhere(address.family))
    if (out && leadsBy(out, address)) return [{ address, way: out }]
    const direct = ways(address)
    if (direct?.type !== 'unicast' || isExact(direct)) return []
    const links = wayOutLinks(ways, address)
    if (!direct.hops.some(({ linkIndex, gateway }) => !gateway && links.includes(linkIndex))) return []
    const way = host.allWays(address.family).find((one) => leadsBy(one, address))
    return way ? [{ address, way }] : []
  })
}

/** The refusal of an address for a pod that is a router's. */
export function routerFault(host: Netns, address: Address, way: Way): Fault {
  const text = formatAddress(address)
  return new Fault(
    `${text} is a router of the node, by route ${describeWay(host, way)}: no pod can have it`,
    {
      code: Code.addressInUse,
      hint: `Ask for another address, or leave ${text} out of the ranges.`,
    },
  )
}

function leadsBy({ hops }: Way, address: Address): boolean {
  return hops.some(({ gateway }) => gateway && sameAddress(gateway, address))
}
