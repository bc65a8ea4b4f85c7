import { type Address, addressKey, type Cidr, cidrKey, formatAddress, formatCidr } from '../core/address.ts'
import { describeRoute } from '../kernel/describe.ts'
import { type FdbEntry, type Neighbour, type Route, Table } from '../kernel/kernel.ts'
import { createOn, type OnLinkObject } from './create.ts'
import type { Desired } from './desired.ts'
import type { StateChange } from './explain.ts'
import { metricOf, usualMetric } from './route.ts'

/*
 * Kernel objects as text, to compare thousands of them: `key` says which object it is among its like, `value` what it says. Neither is for
 * people: BigInt writes a number far faster than RFC 5952 wants an address.
 */

export type OwnedObject = {
  readonly key: string
  readonly value: string
  readonly removal: StateChange
}

export type KeyedObject = Exclude<OnLinkObject, { kind: 'portVlans' }>

export function isKeyed(object: Desired): object is KeyedObject {
  return (
    object.kind === 'route' ||
    object.kind === 'neighbour' ||
    object.kind === 'fdbEntry' ||
    object.kind === 'address'
  )
}

/** Returns a desired object that is to lie on the link of this index. */
export function ownedOf(object: KeyedObject, linkIndex: number): OwnedObject {
  switch (object.kind) {
    case 'route':
      return ownedRoute({ ...object.route, linkIndex })
    case 'address':
      return ownedAddress(object.cidr, linkIndex)
    case 'neighbour':
      return ownedNeighbour({ address: object.address, mac: object.mac, linkIndex })
    case 'fdbEntry':
      return ownedFdbEntry({ mac: object.mac, destination: object.destination, linkIndex })
  }
}

/** A route lies on no link: it keeps its identity when it leaves by another one. */
export function ownedRoute(route: Route): OwnedObject {
  const { dst, gateway, linkIndex, mtu, source, from, hopCount = 1, tos = '' } = route
  const { table = Table.main, type = '', nextHopId = '' } = route
  return {
    key: `route ${cidrKey(dst)} ${table} ${metricOf(route)} ${tos} ${from ? cidrKey(from) : ''}`,
    value: `${gateway ? addressKey(gateway) : ''} ${linkIndex} ${mtu ?? ''} ${source ? addressKey(source) : ''} ${hopCount} ${type} ${nextHopId}`,
    removal: { op: 'removeRoute', route },
  }
}

export function ownedAddress(cidr: Cidr, linkIndex: number): OwnedObject {
  const key = `address ${cidrKey(cidr)} ${linkIndex}`
  return { key, value: '', removal: { op: 'removeAddress', linkIndex, cidr } }
}

export function ownedNeighbour(neighbour: Neighbour): OwnedObject {
  const key = neighbourKey(neighbour.address, neighbour.linkIndex)
  return { key, value: neighbour.mac, removal: { op: 'removeNeighbour', neighbour } }
}

export function neighbourKey(address: Address, linkIndex: number): string {
  return `neighbour ${addressKey(address)} ${linkIndex}`
}

export function ownedFdbEntry(entry: FdbEntry): OwnedObject {
  const key = `fdbEntry ${entry.mac} ${entry.linkIndex}`
  const value = `${addressKey(entry.destination)} ${entry.detour ?? ''}`
  return { key, value, removal: { op: 'removeFdbEntry', entry } }
}

/** Returns an object in words, such as `neighbour 10.244.2.0 on eth0`. */
export function wordsOf({ removal }: OwnedObject, nameOf: (linkIndex: number) => string): string {
  switch (removal.op) {
    case 'removeRoute': {
      const { gateway: _, ...route } = removal.route
      return `route ${describeRoute(route)}${placeInTables(route)}`
    }
    case 'removeAddress':
      return `address ${formatCidr(removal.cidr)} on ${nameOf(removal.linkIndex)}`
    case 'removeNeighbour': {
      const { address, linkIndex } = removal.neighbour
      return `neighbour ${formatAddress(address)} on ${nameOf(linkIndex)}`
    }
    case 'removeFdbEntry':
      return `forwarding entry ${removal.entry.mac} on ${nameOf(removal.entry.linkIndex)}`
    default:
      return ''
  }
}

/** A route takes the place of the one to the same destination in one step: packets have a way at every moment. */
export function replacing(object: KeyedObject, linkIndex: number): StateChange[] {
  return createOn(object, linkIndex).map((change) =>
    change.op === 'addRoute' ? { ...change, replace: true } : change,
  )
}

/** Says the table and the priority where they are not the usual ones. */
function placeInTables(route: Omit<Route, 'linkIndex'>): string {
  const { table = Table.main } = route
  const metric = metricOf(route)
  return `${table === Table.main ? '' : ` table ${table}`}${metric === usualMetric(route.dst) ? '' : ` metric ${metric}`}`
}
