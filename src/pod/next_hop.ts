import { type Address, type Family, formatAddress, formatCidr, sameAddress } from '../core/address.ts'
import { Code, Fault } from '../core/errors.ts'
import { isSingle, notAHost } from '../core/special_address.ts'
import type { PodIp } from './spec.ts'

/**
 * Returns why a pod with these addresses can't use this next hop for destinations of the family; undefined if nothing
 * speaks against it. Whether it is on the pod's link, the kernel says.
 */
export function notANextHop(gateway: Address, family: Family, ips: readonly PodIp[]): string | undefined {
  if (gateway.family !== family) return 'is of another address family'
  const cidrs = ips.map(({ cidr }) => cidr)
  const why = notAHost(gateway, cidrs)
  if (why) return `is ${why}, which no router can have`
  return cidrs.some(({ address }) => sameAddress(address, gateway)) ? "is the pod's own address" : undefined
}

/** Throws a Fault (invalid config) for a gateway by which a pod gets nowhere. `giver` names who gave it. */
export function assertGateways(ips: readonly PodIp[], giver = ''): void {
  for (const { cidr, gateway } of ips) {
    const why = gateway && notANextHop(gateway, cidr.address.family, ips)
    if (!why) continue
    throw new Fault(`${giver}the gateway ${formatAddress(gateway)} of ${formatCidr(cidr)} ${why}`, {
      code: Code.invalidConfig,
      hint: 'Give the gateway the address of another host of that subnet, or a link-local one.',
    })
  }
}

/** Throws a Fault (invalid config) for an address that no pod can have. `giver` names who gave it. */
export function assertPodAddresses(ips: readonly PodIp[], giver: string): void {
  for (const { cidr } of ips) {
    const why = notAHost(cidr.address, [cidr])
    if (!why) continue
    throw new Fault(`${giver}the address ${formatCidr(cidr)} is ${why}, which no pod can have`, {
      code: Code.invalidConfig,
      hint: 'Let IPAM give addresses of hosts only.',
    })
  }
}

/**
 * Throws a Fault (invalid config) for a single address on a bridge that is its gateway: the node would need a route to
 * each pod, as mode l3 has it.
 */
export function assertSubnets(ips: readonly PodIp[]): void {
  const single = ips.find(({ cidr }) => isSingle(cidr))
  if (!single) return
  throw new Fault(`${formatCidr(single.cidr)} has no room for a gateway, which "isGateway" needs`, {
    code: Code.invalidConfig,
    hint: 'Set "mode" to "l3", where any subnet will do, or take addresses from a larger one.',
  })
}
