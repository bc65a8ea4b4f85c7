import { ALL_LINK_SETTINGS } from '../kernel/describe.ts'
import type { Change, PortVlan } from '../kernel/kernel.ts'
import type {
  Desired,
  DesiredAddress,
  DesiredFdbEntry,
  DesiredLink,
  DesiredNeighbour,
  DesiredPortVlans,
  DesiredRoute,
} from './desired.ts'
import type { StateChange } from './explain.ts'
import { createTraffic } from './traffic.ts'

/** Returns the index of a link by its name. */
export type IndexOf = (link: string) => number

/** What lies on a link that exists. */
export type OnLinkObject =
  | DesiredAddress
  | DesiredFdbEntry
  | DesiredNeighbour
  | DesiredPortVlans
  | DesiredRoute

/** What a link gets when it is created. */
const MADE_WITH: readonly string[] = ['mac', 'mtu']
const ALL_VLANS: PortVlan = { from: 1, to: 4094 }

/**
 * Returns the changes that make these objects where none of them is there yet, in their order. Links are there: they have
 * got their MAC and MTU when they were made. Settings and nftables objects have changes of their own.
 */
export function createChanges(desired: readonly Desired[], indexOf: IndexOf): Change[] {
  return desired.flatMap((object): Change[] => {
    switch (object.kind) {
      case 'link':
        return [setLink(object, indexOf)]
      case 'address':
      case 'fdbEntry':
      case 'neighbour':
      case 'portVlans':
      case 'route':
        return createOn(object, indexOf(object.link))
      case 'packetFilter':
      case 'qdisc':
        return [createTraffic(object, indexOf)]
      default:
        return []
    }
  })
}

/** Returns the changes that make what lies on the link of this index. */
export function createOn(object: OnLinkObject, linkIndex: number): StateChange[] {
  switch (object.kind) {
    case 'address':
      return [{ op: 'addAddress', linkIndex, cidr: object.cidr, noDad: object.noDad }]
    case 'fdbEntry': {
      const { mac, destination } = object
      return [{ op: 'setFdbEntry', entry: { mac, destination, linkIndex } }]
    }
    case 'neighbour': {
      const { address, mac } = object
      return [{ op: 'setNeighbour', neighbour: { address, mac, linkIndex } }]
    }
    case 'route':
      return [{ op: 'addRoute', route: { ...object.route, linkIndex } }]
    case 'portVlans': {
      const { vlans, self, dropDefault } = object
      // The bridge has put a new port into its own default VLAN, whatever that is.
      const drop: StateChange = { op: 'removePortVlan', linkIndex, vlan: ALL_VLANS }
      const add = (vlan: PortVlan): StateChange => ({
        op: 'addPortVlan',
        linkIndex,
        vlan,
        ...(self && { self }),
      })
      return [...(dropDefault ? [drop] : []), ...vlans.map(add)]
    }
  }
}

function setLink(object: DesiredLink, indexOf: IndexOf): Change {
  const { link, up, master, port, create, ipv4 } = object
  const { alias = create?.type === 'ifb' ? create.alias : undefined } = object
  const later = ALL_LINK_SETTINGS.filter((setting) => setting in object && !MADE_WITH.includes(setting))
  return {
    op: 'setLink',
    link: { index: indexOf(link) },
    ...(master !== undefined && { master: indexOf(master) }),
    ...(up !== undefined && { up }),
    ...(port && Object.keys(port).length > 0 && { port }),
    ...(alias !== undefined && { alias }),
    ...(ipv4 && { ipv4 }),
    ...Object.fromEntries(later.map((setting) => [setting, object[setting]])),
  }
}
