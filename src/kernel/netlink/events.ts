import { type Address, addressFromBytes } from '../../core/address.ts'
import type { FdbEntry, Link, Neighbour, PlacedAddress, Route } from '../kernel.ts'
import { readAttributes, readMessages } from './message.ts'
import { decodeAddress, decodeFdbEntry, decodeLink, decodeNeighbour, decodeOwnedRoutes } from './replies.ts'
import { Family, Ifla, Nda, Rtm } from './rtnetlink.ts'

/** The place of `ifi_change` in struct ifinfomsg, and its value for a link that was created. Source: rtnl_configure_link in net/core/rtnetlink.c. */
const IFI_CHANGE_OFFSET = 12
const ALL_FLAGS = 0xffffffff
const IFINFO_LENGTH = 16

/** An object that was made or changed, or is gone, by whatever program. */
export type KernelEvent = { readonly isGone: boolean } & (
  | {
      readonly subject: 'link'
      readonly link: Link
      /** It has just been created, and says nothing of what comes with the creation, such as that it is up. */
      readonly isNew?: boolean
      /** It is gone to another namespace. */
      readonly movedTo?: { readonly netnsId: number; readonly index: number }
    }
  | { readonly subject: 'address'; readonly address: PlacedAddress }
  /** A neighbour or a forwarding entry; neither if it has no hardware address (then `address` tells whose it is), or names no other node. */
  | {
      readonly subject: 'neighbour'
      readonly linkIndex: number
      readonly address?: Address
      readonly neighbour?: Neighbour
      readonly entry?: FdbEntry
    }
  /** One for each next hop. */
  | { readonly subject: 'route'; readonly routes: readonly Route[] }
)

/** Reads what the kernel sends to the subscribers of its groups. */
export function readEvents(bytes: Uint8Array): KernelEvent[] {
  return readMessages(bytes).flatMap(({ type, body }) => eventOf(type, body) ?? [])
}

function eventOf(type: number, body: Uint8Array): KernelEvent | undefined {
  switch (type) {
    case Rtm.newLink:
    case Rtm.delLink:
      return linkEvent(body, type === Rtm.delLink)
    case Rtm.newAddr:
    case Rtm.delAddr:
      return { subject: 'address', isGone: type === Rtm.delAddr, address: decodeAddress(body) }
    case Rtm.newNeigh:
    case Rtm.delNeigh:
      return neighbourEvent(body, type === Rtm.delNeigh)
    case Rtm.newRoute:
    case Rtm.delRoute:
      return { subject: 'route', isGone: type === Rtm.delRoute, routes: decodeOwnedRoutes(body) }
    default:
      return undefined
  }
}

function linkEvent(body: Uint8Array, isGone: boolean): KernelEvent {
  const changed = new DataView(body.buffer, body.byteOffset).getUint32(IFI_CHANGE_OFFSET, true)
  const isNew = changed === ALL_FLAGS && !isGone
  const link = decodeLink(body)
  const attributes = isGone ? readAttributes(body, IFINFO_LENGTH) : undefined
  const netnsId = attributes?.u32(Ifla.newNetnsId)
  // The index is left out where it stays the same.
  const index = attributes?.u32(Ifla.newIndex) ?? link.index
  return {
    subject: 'link',
    isGone,
    link,
    ...(isNew && { isNew }),
    ...(netnsId !== undefined && { movedTo: { netnsId, index } }),
  }
}

function neighbourEvent(body: Uint8Array, isGone: boolean): KernelEvent {
  const linkIndex = new DataView(body.buffer, body.byteOffset).getUint32(4, true)
  const event = { subject: 'neighbour', isGone, linkIndex } as const
  if (body[0] === Family.bridge) {
    const entry = decodeFdbEntry(body)
    return entry ? { ...event, entry } : event
  }
  const neighbour = decodeNeighbour(body)
  if (neighbour) return { ...event, neighbour }
  const address = readAttributes(body, 12).get(Nda.dst)
  return address ? { ...event, address: addressFromBytes(address) } : event
}
