import { type Address, formatAddress, sameAddress } from '../core/address.ts'
import { Code, Fault } from '../core/errors.ts'
import { distinct } from '../core/text.ts'
import { describeFibEntry } from '../kernel/describe_fib_entry.ts'
import type { FibEntry, Netns } from '../kernel/kernel.ts'
import { isExact, type RouteLookup } from './route_lookup.ts'
import { elsewhere } from './uplink.ts'

/*
 * The routers of the node. They are in the node's own networks, whose addresses a pool may hold, and none of them is a pod's:
 * the node would send to the pod what is for everybody else.
 */

/** Returns what must be asked together with these addresses, in the same round trip, to find the node's uplinks. */
export function uplinkProbes(addresses: readonly Address[]): Address[] {
  return distinct(
    addresses.map(({ family }) => elsewhere(family)),
    formatAddress,
  )
}

/** Returns the links of the node's uplinks, whose networks are not ours. */
export function uplinkLinks(lookup: RouteLookup, { family }: Address): number[] {
  return lookup(elsewhere(family))?.hops.map(({ linkIndex }) => linkIndex) ?? []
}

/** Returns whether the link is an uplink of the node, in either family: a change of it may cut the node off. */
export function livesBy(host: Netns, linkIndex: number): boolean {
  const lookup = host.lookupRoutes([elsewhere(4), elsewhere(6)])
  return lookup.some(({ hops }) => hops.some((hop) => hop.linkIndex === linkIndex))
}

/**
 * Returns those of the addresses that are next hops of the node, each with a route that leads by it. Asks for all routes only
 * where an address is in the network of an uplink.
 */
export function routersAmong(
  host: Netns,
  addresses: readonly Address[],
  lookup: RouteLookup,
): { address: Address; entry: FibEntry }[] {
  return addresses.flatMap((address) => {
    const out = lookup(elsewhere(address.family))
    if (out && leadsBy(out, address)) return [{ address, entry: out }]
    const direct = lookup(address)
    if (direct?.type !== 'unicast' || isExact(direct)) return []
    const links = uplinkLinks(lookup, address)
    if (!direct.hops.some(({ linkIndex, gateway }) => !gateway && links.includes(linkIndex))) return []
    const entry = host.fibEntries(address.family).find((one) => leadsBy(one, address))
    return entry ? [{ address, entry }] : []
  })
}

/** Returns the Fault for an address of a pod that is a router's. */
export function routerFault(host: Netns, address: Address, entry: FibEntry): Fault {
  const text = formatAddress(address)
  return new Fault(
    `${text} is a router of the node, by route ${describeFibEntry(host, entry)}: no pod can have it`,
    {
      code: Code.addressInUse,
      hint: `Ask for another address, or leave ${text} out of the ranges.`,
    },
  )
}

function leadsBy({ hops }: FibEntry, address: Address): boolean {
  return hops.some(({ gateway }) => gateway && sameAddress(gateway, address))
}
