import type { Address, Cidr } from '../../core/address.ts'
import { readMessages } from './message.ts'
import { decodeAddress, decodeLink, decodeRouteEntry } from './replies.ts'
import { Family, Rtm } from './rtnetlink.ts'

/** An object that was made, changed or removed, by whatever program. */
export type KernelEvent =
  | { readonly subject: 'link'; readonly linkIndex: number; readonly name: string }
  | { readonly subject: 'address'; readonly linkIndex: number; readonly address: Address }
  /** A neighbour, or a forwarding entry. */
  | { readonly subject: 'neighbour'; readonly linkIndex: number }
  | { readonly subject: 'route'; readonly dst: Cidr; readonly protocol: number }

/** Reads what the kernel sends to the subscribers of its groups. */
export function readEvents(bytes: Uint8Array): KernelEvent[] {
  return readMessages(bytes).flatMap(({ type, body }) => eventOf(type, body) ?? [])
}

function eventOf(type: number, body: Uint8Array): KernelEvent | undefined {
  switch (type) {
    case Rtm.newLink:
    case Rtm.delLink: {
      const { index, name } = decodeLink(body)
      return { subject: 'link', linkIndex: index, name }
    }
    case Rtm.newAddr:
    case Rtm.delAddr: {
      const { linkIndex, cidr } = decodeAddress(body)
      return { subject: 'address', linkIndex, address: cidr.address }
    }
    case Rtm.newNeigh:
    case Rtm.delNeigh:
      return {
        subject: 'neighbour',
        linkIndex: new DataView(body.buffer, body.byteOffset).getUint32(4, true),
      }
    case Rtm.newRoute:
    case Rtm.delRoute:
      return routeEvent(body)
    default:
      return undefined
  }
}

function routeEvent(body: Uint8Array): KernelEvent | undefined {
  if (body[0] !== Family.inet && body[0] !== Family.inet6) return undefined
  return { subject: 'route', dst: decodeRouteEntry(body).route.dst, protocol: body[5] ?? 0 }
}
