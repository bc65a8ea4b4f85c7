import { type Address, type Family, formatAddress, isDefaultRoute } from '../../../src/core/address.ts'
import { Fault, withAction } from '../../../src/core/errors.ts'
import { comparableJson } from '../../../src/core/json.ts'
import { describeChange } from '../../../src/kernel/describe.ts'
import type {
  Change,
  FdbEntry,
  FibEntry,
  Link,
  LinkAddress,
  LinkRef,
  Neighbour,
  Netns,
  PacketFilter,
  PlacedAddress,
  PolicyRule,
  PortVlan,
  Qdisc,
  Route,
} from '../../../src/kernel/kernel.ts'
import type { Recollection } from '../../../src/kernel/recollection.ts'
import { Killed } from '../files.ts'
import { addAddress, makeLinkLocals, removeAddress } from './addresses.ts'
import { removeFdbEntry, setFdbEntry } from './fdb.ts'
import { createBridge, createIfb, createVeth, createVlan, createVxlan, removeLink, setLink } from './links.ts'
import { removeNeighbour, setNeighbour } from './neighbours.ts'
import { addPortVlan, portVlansOf, removePortVlan } from './port_vlans.ts'
import {
  addRoute,
  bestRoutes,
  protocolOf,
  removeRoute,
  routeTo,
  showOwnedRoute,
  showRoute,
  wayOf,
  wayTo,
} from './routes.ts'
import { findLink, type Namespace, showLink } from './state.ts'
import { refusal, type Steps } from './steps.ts'
import { readSysctl, writeSysctl } from './sysctls.ts'
import { changePacketFilter, changeQdisc, trafficOf } from './traffic.ts'

/** The device number of nsfs: the same for all namespaces. */
const NSFS_DEVICE = 4

export type FakeNetnsOptions = {
  readonly steps: Steps
  readonly onClose: () => void
}

/** An open handle on a namespace of the fake. */
export class FakeNetns implements Netns {
  readonly identity: { readonly device: number; readonly inode: number }
  readonly #namespace: Namespace
  readonly #options: FakeNetnsOptions
  #open = true

  constructor(namespace: Namespace, options: FakeNetnsOptions) {
    this.#namespace = namespace
    this.#options = options
    this.identity = { device: NSFS_DEVICE, inode: namespace.inode }
  }

  apply(changes: readonly Change[]): void {
    const refused: unknown[] = []
    for (const change of changes) {
      const what = describeChange(change)
      try {
        this.#run(what, () => {
          withAction(what, () => this.#applyOne(change))
        })
      } catch (error) {
        if (error instanceof Killed) throw error
        // A hook refuses in bare words; a rule of the fake has said which change it was.
        refused.push(error instanceof Fault ? nameChange(error, what) : error)
      }
    }
    if (refused.length > 0) throw refused[0]
  }

  applyAndRead(changes: readonly Change[], link: LinkRef): Link {
    this.apply(changes)
    const found = this.link(link)
    if (!found) throw new Fault(`read ${describeRef(link)}: ENODEV`, { errno: 'ENODEV' })
    return found
  }

  link(ref: LinkRef): Link | undefined {
    return this.#run(`read ${describeRef(ref)}`, (namespace) => {
      const link = findLink(namespace, ref)
      return link && showLink(link)
    })
  }

  links(): Link[] {
    return this.#run('list links', ({ links }) => [...links.values()].map(showLink))
  }

  remember<T>(ask: () => T): Recollection<T> {
    const shown = () => this.#run('compare with what is remembered', textOf)
    const before = shown()
    return { value: ask(), isSame: () => shown() === before }
  }

  addresses(linkIndex: number): LinkAddress[] {
    return this.#run(`list addresses of link ${linkIndex}`, ({ links }) =>
      (links.get(linkIndex)?.addresses ?? []).map(({ cidr, scope, flags }) => ({ cidr, scope, flags })),
    )
  }

  allAddresses(): PlacedAddress[] {
    return this.#run('list addresses', ({ links }) =>
      [...links.values()].flatMap(({ index, addresses }) =>
        addresses.map(({ cidr, scope, flags }) => ({ cidr, scope, flags, linkIndex: index })),
      ),
    )
  }

  routes(linkIndex: number): Route[] {
    return this.#run(`list routes of link ${linkIndex}`, ({ routes }) =>
      routes.filter((route) => route.linkIndex === linkIndex).map(showRoute),
    )
  }

  routesOfProtocol(protocol: number): Route[] {
    return this.#run(`list routes of protocol ${protocol}`, ({ routes }) =>
      routes.filter((route) => protocolOf(route) === protocol).map(showOwnedRoute),
    )
  }

  fdbEntries(linkIndex: number): FdbEntry[] {
    return this.#run(`list forwarding entries of link ${linkIndex}`, ({ links }) =>
      (links.get(linkIndex)?.vxlan?.fdb ?? []).map((one) => ({ ...one, linkIndex })),
    )
  }

  qdiscs(linkIndex: number): Qdisc[] {
    return this.#run(
      `list qdiscs of link ${linkIndex}`,
      ({ links }) => trafficOf(links.get(linkIndex)).qdiscs,
    )
  }

  packetFilters(linkIndex: number): PacketFilter[] {
    return this.#run(
      `list filters of link ${linkIndex}`,
      ({ links }) => trafficOf(links.get(linkIndex)).filters,
    )
  }

  neighbours(linkIndex: number): Neighbour[] {
    return this.#run(`list neighbours of link ${linkIndex}`, ({ links }) =>
      (links.get(linkIndex)?.neighbours ?? []).map((one) => ({ ...one, linkIndex })),
    )
  }

  /** Nobody sends advertisements in a fake. */
  advertisedLinks(): number[] {
    return this.#run('list what router advertisements brought', () => [])
  }

  portVlans(linkIndex: number): PortVlan[] {
    return this.#run(`list VLANs of link ${linkIndex}`, ({ links }) => portVlansOf(links.get(linkIndex)))
  }

  routeTo(address: Address): number | undefined {
    return this.#run(`find the route to ${formatAddress(address)}`, (namespace) =>
      routeTo(namespace, address),
    )
  }

  routing(addresses: readonly Address[]): { routes: Route[][]; rules: PolicyRule[] } {
    return this.#run(`find the routes to ${addresses.map(formatAddress).join(', ')}`, (namespace) => ({
      routes: addresses.map((address) => bestRoutes(namespace, address).map(showRoute)),
      rules: [],
    }))
  }

  defaultRoutes(family: Family, table: number): Route[] {
    return this.#run(`list the default routes of table ${table}`, ({ routes }) =>
      routes
        .filter(
          ({ dst, table: one }) => isDefaultRoute(dst) && dst.address.family === family && one === table,
        )
        .map(showRoute),
    )
  }

  lookupRoutes(addresses: readonly Address[], changes: readonly Change[] = []): FibEntry[] {
    this.apply(changes)
    if (addresses.length === 0) return []
    return this.#run(`find the routes to ${addresses.map(formatAddress).join(', ')}`, (namespace) =>
      addresses.map((address) => wayTo(namespace, address)),
    )
  }

  fibEntries(family: 4 | 6): FibEntry[] {
    return this.#run('list routes', ({ routes }) =>
      routes.filter(({ dst }) => dst.address.family === family).map(wayOf),
    )
  }

  readSysctl(key: string): string | undefined {
    return this.#run(`read sysctl ${key}`, (namespace) => readSysctl(namespace, key))
  }

  writeSysctl(key: string, value: string): void {
    const what = `write ${value} to sysctl ${key}`
    this.#run(what, (namespace) => {
      withAction(what, () => writeSysctl(namespace, key, value))
      makeLinkLocals(namespace)
    })
  }

  probeSysctl(key: string): void {
    this.#run(`ask whether sysctl ${key} can be written`, (namespace) => {
      if (readSysctl(namespace, key) === undefined) throw refusal('ENOENT')
    })
  }

  checksumOffload(link: string): boolean | undefined {
    return this.#run(`read the checksum offload of ${link}`, (namespace) => {
      return findLink(namespace, { name: link })?.hasChecksumOffload
    })
  }

  setChecksumOffload(link: string, isOn: boolean): void {
    this.#run(`turn the checksum offload of ${link} ${isOn ? 'on' : 'off'}`, (namespace) => {
      const found = findLink(namespace, { name: link })
      if (!found) throw refusal('ENODEV')
      found.hasChecksumOffload = isOn
    })
  }

  close(): void {
    if (!this.#open) return
    this.#open = false
    this.#options.onClose()
  }

  /** The namespace behind a handle, for a change in another namespace that refers to it. EBADF once it is closed. */
  get namespace(): Namespace {
    if (!this.#open) throw refusal('EBADF', 'the namespace was closed')
    return this.#namespace
  }

  #run<T>(what: string, work: (namespace: Namespace) => T): T {
    const { namespace } = this
    return this.#options.steps.run(what, () => work(namespace))
  }

  #applyOne(change: Change): void {
    const namespace = this.#namespace
    switch (change.op) {
      case 'createVeth':
        createVeth(namespace, namespaceOf(change.peerNetns), change)
        break
      case 'createBridge':
        createBridge(namespace, change)
        break
      case 'createVlan':
        createVlan(namespace, change)
        break
      case 'createVxlan':
        createVxlan(namespace, change)
        break
      case 'createIfb':
        createIfb(namespace, change)
        break
      case 'setQdisc':
      case 'removeQdisc':
        changeQdisc(namespace, change)
        break
      case 'addPacketFilter':
      case 'removePacketFilter':
        changePacketFilter(namespace, change)
        break
      case 'setLink':
        setLink(namespace, change)
        break
      case 'removeLink':
        removeLink(namespace, change)
        break
      case 'addAddress':
        addAddress(namespace, change)
        break
      case 'removeAddress':
        removeAddress(namespace, change.linkIndex, change.cidr)
        break
      case 'addRoute':
        addRoute(namespace, change.route, change.replace === true)
        break
      case 'removeRoute':
        removeRoute(namespace, change.route)
        break
      case 'restoreRoute':
        throw refusal('EOPNOTSUPP', 'the fake has no routes in the form of the kernel')
      case 'setNeighbour':
        setNeighbour(namespace, change.neighbour)
        break
      case 'removeNeighbour':
        removeNeighbour(namespace, change.neighbour)
        break
      case 'setFdbEntry':
        setFdbEntry(namespace, change.entry)
        break
      case 'removeFdbEntry':
        removeFdbEntry(namespace, change.entry)
        break
      case 'addPortVlan':
        addPortVlan(namespace, change)
        break
      case 'removePortVlan':
        removePortVlan(namespace, change)
        break
    }
  }
}

function namespaceOf(netns: Netns): Namespace {
  if (netns instanceof FakeNetns) return netns.namespace
  throw new Fault('the peer namespace is not one of this fake')
}

function nameChange(fault: Fault, what: string): Fault {
  return fault.message.startsWith(what) ? fault : new Fault(`${what}: ${fault.message}`, { cause: fault })
}

function describeRef(ref: LinkRef): string {
  return 'name' in ref ? `link ${ref.name}` : `link ${ref.index}`
}

/** All that a namespace can be asked. */
function textOf({ links, routes }: Namespace): string {
  const all = [...links.values()].map((link) => {
    const { addresses, neighbours, vxlan, hasChecksumOffload } = link
    return [showLink(link), addresses, neighbours, vxlan?.fdb, hasChecksumOffload]
  })
  return comparableJson([all, routes]) ?? ''
}
