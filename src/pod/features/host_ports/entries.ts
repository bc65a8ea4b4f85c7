import { type Address, type Cidr, FAMILIES, type Family } from '../../../core/address.ts'
import { type HostPort, PROTOCOLS } from '../../../core/host_port.ts'
import type { Kernel } from '../../../kernel/kernel.ts'
import { concat } from '../../../kernel/nftables/concat.ts'
import { type Datatype, ifname, ipAddress, ipPrefix } from '../../../kernel/nftables/datatypes.ts'
import { inetProto, inetService } from '../../../kernel/nftables/numbers.ts'
import type { NftElement, NftSet } from '../../../kernel/nftables/objects.ts'
import { POD_TABLE } from '../nftables.ts'

/* The maps and sets of host ports, and what a pod has in them. */

type Target = readonly [address: Address, port: number]
type AnyKey = readonly [protocol: number, port: number]
type Key = readonly [address: Address, protocol: number, port: number]
type ClientKey = readonly [clients: Cidr, pod: Address]

type HostPortMap<K> = NftSet<K, Target> & { readonly data: Datatype<Target> }

/** The ports of any address of the node. */
export const ANY: Record<Family, HostPortMap<AnyKey>> = { 4: anyMap(4), 6: anyMap(6) }
/** The ports of one address. */
export const SINGLE: Record<Family, HostPortMap<Key>> = { 4: singleMap(4), 6: singleMap(6) }
/** The clients whose source changes, each with its pod. */
export const CLIENTS: Record<Family, NftSet<ClientKey>> = { 4: clientSet(4), 6: clientSet(6) }
/** Links that stay when their pods go, and of which Bowline has turned `route_localnet` on. */
export const LOCALNET_LINKS: NftSet<string> = { table: POD_TABLE, name: 'localnet-links', key: ifname }

type AnySet = NftSet<unknown, unknown>

const MAPS = FAMILIES.flatMap((family) => [SINGLE[family], ANY[family]]) as readonly AnySet[]
const CLIENT_SETS = FAMILIES.map((family) => CLIENTS[family]) as readonly AnySet[]
export const SETS: readonly AnySet[] = [...MAPS, ...CLIENT_SETS, LOCALNET_LINKS as AnySet]

/** An element of one of them, whatever its types. */
export type Entry = {
  readonly set: AnySet
  readonly element: NftElement<unknown, unknown>
}

/** Returns the element by which a port of the node leads to an address of a pod. `at`: zeros for any address of the node. */
export function portEntry(at: Address, port: HostPort, pod: Address): Entry {
  const { family } = at
  const [protocol, data] = [PROTOCOLS[port.protocol], [pod, port.containerPort] as const]
  return (
    at.value === 0n
      ? { set: ANY[family], element: { key: [protocol, port.hostPort], data } }
      : { set: SINGLE[family], element: { key: [at, protocol, port.hostPort], data } }
  ) as Entry
}

/** Returns the element by which the source of these clients of a pod changes. */
export function clientEntry(clients: Cidr, pod: Address): Entry {
  return { set: CLIENTS[pod.family], element: { key: [clients, pod] } } as Entry
}

/** Returns the element that is there for the key of this one, if there is one. */
export function presentEntry({ nftables }: Kernel, { set, element: { key } }: Entry): Entry | undefined {
  const found = nftables.element(set, key)
  // Of ranges the kernel shows the element that holds the key.
  return found && set.key.show(found.key) === set.key.show(key) ? { set, element: found } : undefined
}

/**
 * Returns the elements of the port of this one, at the same address, or where one of the two is for any address. `known` keeps what
 * was asked.
 */
export function rivalEntries(
  kernel: Kernel,
  entry: Entry,
  known: Map<string, readonly NftElement<Key, Target>[]>,
): Entry[] {
  const { set, element } = entry
  const family = FAMILIES.find((one) => [ANY[one], SINGLE[one]].some(({ name }) => name === set.name)) ?? 4
  const same = presentEntry(kernel, entry)
  if (set.name !== ANY[family].name) {
    const [, protocol, port] = element.key as Key
    const any = presentEntry(kernel, { set: ANY[family], element: { key: [protocol, port] } } as Entry)
    return [same, any].flatMap((one) => one ?? [])
  }
  const [protocol, port] = element.key as AnyKey
  const singles = known.get(set.name) ?? kernel.nftables.elements(SINGLE[family])
  known.set(set.name, singles)
  const rivals = singles.filter(({ key }) => key[1] === protocol && key[2] === port)
  return [...(same ? [same] : []), ...rivals.map((one) => ({ set: SINGLE[family], element: one }) as Entry)]
}

/** Returns all elements of all maps and sets. */
export function allEntries({ nftables }: Kernel): Entry[] {
  return SETS.flatMap((set) => nftables.elements(set).map((element) => ({ set, element })))
}

/** Returns the element that writes down that `route_localnet` of a link is to be taken back. */
export function localnetEntry(link: string, comment = SHARED): Entry {
  return { set: LOCALNET_LINKS as AnySet, element: { key: link, comment } }
}

/** The comment of a link that pods share: it names none. */
const SHARED = 'route_localnet=1 for as long as a pod has a host port'

function anyMap(family: Family): HostPortMap<AnyKey> {
  const key = concat<[number, number]>(inetProto, inetService)
  return { table: POD_TABLE, name: `host-ports-any${family}`, key, data: targetOf(family) }
}

function singleMap(family: Family): HostPortMap<Key> {
  const key = concat<[Address, number, number]>(ipAddress(family), inetProto, inetService)
  return { table: POD_TABLE, name: `host-ports-single${family}`, key, data: targetOf(family) }
}

function clientSet(family: Family): NftSet<ClientKey> {
  const key = concat<[Cidr, Address]>(ipPrefix(family), ipAddress(family))
  return { table: POD_TABLE, name: `host-port-clients${family}`, key }
}

function targetOf(family: Family) {
  return concat<[Address, number]>(ipAddress(family), inetService)
}
