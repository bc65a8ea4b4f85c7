import type { PoolUse } from '../../ipam/config.ts'
import type { Range, RangeSet } from '../../ipam/range_set.ts'
import type { NetworkConfig } from '../cni/config.ts'
import { type Address, sameAddress } from '../core/address.ts'
import type { Netns } from '../kernel/kernel.ts'
import { refuseForeignRouted } from '../pod/foreign.ts'
import { refuseGateways } from '../pod/gateway.ts'
import { assertSubnets } from '../pod/next_hop.ts'
import { type NodeSources, nodeStateOf } from '../pod/node_state.ts'
import { planPod } from '../pod/plan.ts'
import { lookupRoutes, type RouteLookup } from '../pod/route_lookup.ts'
import { uplinkProbes } from '../pod/routers.ts'
import type { PodIp } from '../pod/spec.ts'
import { gatewayVlanName } from '../pod/vlan.ts'
import { planSets, readResolvConf, unusableOnes } from './addresses.ts'
import { podSpecOf } from './pod_spec.ts'
import type { Ports } from './ports.ts'

/*
 * STATUS plans the first pod of each range, as far as it is known before there is one, to refuse what an ADD would refuse
 * for every pod.
 */

/** The index of the bridge that is still to be made: no link has it. */
const NO_INDEX = 0
/** How many addresses of a range are tried: some may be the node's own, or its routers'. */
const MAX_TRIED = 8

/** Throws the Fault of an ADD that would be refused whatever the pod is. */
export function refuseImpossiblePods(
  config: NetworkConfig,
  ports: NodeSources & Pick<Ports, 'files' | 'pools'>,
  use: PoolUse,
): void {
  if (config.ipam?.resolvConf) readResolvConf(ports.files, config.ipam.resolvConf)
  const host = ports.kernel.host()
  const sets = planSets(config, use)
  const { lookup, ipOf } = firstPods(host, sets, config)
  const id = { network: config.name, containerId: '', ifName: '' }
  const ips = sets.flatMap(({ ranges }) => ranges.flatMap((range) => ipOf(range) ?? []))
  const routes = config.ipam?.routes ?? []
  const spec = podSpecOf(ports.kernel, id, config, { ips: [] }, { ips, routes })
  // A pod gets an address of one range of each set: it is refused only if it would be refused with each range.
  const { bridgeAddresses } = planPod(spec)
  // A pod of another network that has the first address is no reason to refuse: there may be other addresses.
  const others = {
    ...nodeStateOf(ports, id, ports.pools.ownersIn(config.ipam?.dataDir)),
    holderOf: () => undefined,
  }
  if (config.mode === 'l3') refuseForeignRouted(host, { ips }, lookup, others)
  if (!spec.bridge?.isGateway) return
  if (ips.length === sets.length) assertSubnets(spec.ips)
  const { name: bridge } = spec.bridge
  const name = config.vlan ? gatewayVlanName(bridge, config.vlan) : bridge
  const link = host.link({ name }) ?? { name, index: NO_INDEX }
  refuseGateways(host, link, bridgeAddresses, { spec: spec.bridge, ips: spec.ips }, others)
}

type FirstPods = { readonly lookup: RouteLookup; readonly ipOf: (range: Range) => PodIp | undefined }

function firstPods(host: Netns, sets: readonly RangeSet[], { mode }: NetworkConfig): FirstPods {
  const tried = new Map(
    sets.flatMap((set) => set.ranges.map((range) => [range, firstOf(set, range)] as const)),
  )
  const addresses = [...tried.values()].flat()
  const gateways = mode === 'l3' ? [...tried.keys()].flatMap(({ gateway }) => gateway ?? []) : []
  const lookup = lookupRoutes(host, [...addresses, ...gateways, ...uplinkProbes(addresses)])
  const unusable = unusableOnes(host, addresses, lookup).map(({ address }) => address)
  return {
    lookup,
    ipOf: (range) => {
      const { subnet, gateway } = range
      const address = tried.get(range)?.find((one) => !unusable.some((other) => sameAddress(one, other)))
      return address && { cidr: { address, prefix: subnet.prefix }, ...(gateway && { gateway }) }
    },
  }
}

/** Returns the lowest addresses of a range that a pool gives. */
function firstOf({ nextHops = [] }: RangeSet, { start, end, gateway }: Range): Address[] {
  const kept = [...nextHops, ...(gateway ? [gateway] : [])]
  const lowest = Array.from({ length: MAX_TRIED }, (_, i) => ({ ...start, value: start.value + BigInt(i) }))
  return lowest.filter(
    (address) => address.value <= end.value && !kept.some((one) => sameAddress(one, address)),
  )
}
