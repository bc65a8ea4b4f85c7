import type { Address, Family as IpFamily } from '../../core/address.ts'
import { Fault, isErrno } from '../../core/errors.ts'
import { describeChange } from '../describe.ts'
import {
  type Change,
  type FdbEntry,
  type FibEntry,
  type Link,
  type LinkAddress,
  type LinkRef,
  type Neighbour,
  type Netns,
  type PacketFilter,
  type PlacedAddress,
  type PolicyRule,
  type PortVlan,
  type Qdisc,
  type Route,
  Table,
} from '../kernel.ts'
import { familyNumber, stepsOf, writeChange, writeIfInfo, writeLinkHead } from '../netlink/changes.ts'
import { isDigestible } from '../netlink/digest.ts'
import { type Ack, type Message, type MessageWriter, Nlm } from '../netlink/message.ts'
import { decodePolicyRule } from '../netlink/policy_rule.ts'
import {
  advertisedAddressLinks,
  advertisedRouteLinks,
  decodeAddress,
  decodeFdbEntry,
  decodeLink,
  decodeNeighbour,
  decodeOwnedRoutes,
  decodePortVlans,
  decodeRoutes,
} from '../netlink/replies.ts'
import { decodeLookup, refusedLookup, writeLookup } from '../netlink/route_lookup.ts'
import { ExtMask, Family, Ifla, Nda, Rta, Rtm } from '../netlink/rtnetlink.ts'
import { decodePacketFilter, decodeQdisc, writeTrafficQuestion } from '../netlink/traffic.ts'
import type { Recollection } from '../recollection.ts'
import { Errno } from './errno.ts'
import { readChecksumOffload, writeChecksumOffload } from './ethtool.ts'
import { Memory } from './memory.ts'
import { closeHandle, type NamespaceHandle, within } from './namespace.ts'
import { NETLINK_ROUTE } from './net.ts'
import { refusal } from './refusal.ts'
import { type DumpRequest, digestOf, RouteSocket } from './route_socket.ts'
import { openNetlinkSocket } from './socket.ts'
import { probeSysctl, readSysctl, writeSysctl } from './sysctl.ts'

/** Requests in one send: both they (under 40 KiB) and their answers must fit the buffers that a socket starts with. */
const MAX_BATCH = 64

/** The requests that list objects, and their answers. */
const LISTS = {
  links: { request: Rtm.getLink, reply: Rtm.newLink },
  'bridge ports': { request: Rtm.getLink, reply: Rtm.newLink },
  addresses: { request: Rtm.getAddr, reply: Rtm.newAddr },
  routes: { request: Rtm.getRoute, reply: Rtm.newRoute },
  neighbours: { request: Rtm.getNeigh, reply: Rtm.newNeigh },
  qdiscs: { request: Rtm.getQdisc, reply: Rtm.newQdisc },
  filters: { request: Rtm.getFilter, reply: Rtm.newFilter },
}

/** Requests that only read. */
type Question = {
  readonly count: number
  /** Writes them, numbered from `first`. */
  readonly write: (writer: MessageWriter, first: number) => void
  /** `index` is that of the request which the message answers. */
  readonly onReply: (message: Message, index: number) => void
}

/** A network namespace, reached through one rtnetlink socket that is opened when it is first needed. */
export class LinuxNetns implements Netns {
  readonly identity: NamespaceHandle['identity']
  readonly #handle: NamespaceHandle
  readonly #isHome: boolean
  #socket: RouteSocket | undefined
  #isOpen = true
  readonly #memory = new Memory()

  constructor(handle: NamespaceHandle, isHome: boolean) {
    this.identity = handle.identity
    this.#handle = handle
    this.#isHome = isHome
  }

  /** The namespace as the target of a veth's other end. Throws EBADF once it is closed: the number may be another file's. */
  get fd(): number {
    if (this.#isOpen) return this.#handle.fd
    throw new Fault('EBADF (the namespace was closed)', { errno: 'EBADF' })
  }

  remember = <T>(ask: () => T): Recollection<T> => this.#memory.remember(ask)

  apply(changes: readonly Change[]): void {
    this.#applyAll(changes)
  }

  applyAndRead(changes: readonly Change[], ref: LinkRef): Link {
    const link = this.#applyAll(changes, ref)
    if (link) return link
    throw new Fault(`read ${describeRef(ref)}: ENODEV`, { errno: 'ENODEV' })
  }

  link(ref: LinkRef): Link | undefined {
    // The kernel takes index 0 for a request without a name: EINVAL.
    const isNone = 'index' in ref && ref.index === 0
    return this.#memory.asked(() => (isNone ? undefined : this.#applyAll([], ref)))
  }

  links(): Link[] {
    return this.#dump('links', (writer) =>
      writeIfInfo(writer, Family.unspec).attributeU32(Ifla.extMask, ExtMask.skipStats),
    ).map(decodeLink)
  }

  addresses(linkIndex: number): LinkAddress[] {
    return this.#listAddresses(linkIndex)
      .filter((address) => address.linkIndex === linkIndex)
      .map(({ linkIndex: _, ...address }) => address)
  }

  allAddresses(): PlacedAddress[] {
    return this.#listAddresses(0)
  }

  routes(linkIndex: number): Route[] {
    const ofLink = (writer: MessageWriter) =>
      writeRouteHead(writer, Family.unspec).attributeU32(Rta.oif, linkIndex)
    return this.#dump('routes', ofLink)
      .flatMap(decodeRoutes)
      .filter((route) => route.linkIndex === linkIndex)
  }

  routesOfProtocol(protocol: number): Route[] {
    const ofProtocol = (writer: MessageWriter) => writer.u32(Family.unspec).u8(0, protocol).u32(0)
    return this.#dump('routes', ofProtocol)
      .filter((body) => body[5] === protocol)
      .flatMap(decodeOwnedRoutes)
  }

  neighbours(linkIndex: number): Neighbour[] {
    const ofLink = (writer: MessageWriter) =>
      writeRouteHead(writer, Family.unspec).attributeU32(Nda.linkIndex, linkIndex)
    return this.#dump('neighbours', ofLink)
      .flatMap((reply) => decodeNeighbour(reply) ?? [])
      .filter((neighbour) => neighbour.linkIndex === linkIndex)
  }

  fdbEntries(linkIndex: number): FdbEntry[] {
    const ofLink = (writer: MessageWriter) => writer.u32(Family.bridge).u32(linkIndex).u32(0)
    return this.#dump('neighbours', ofLink)
      .flatMap((reply) => decodeFdbEntry(reply) ?? [])
      .filter((entry) => entry.linkIndex === linkIndex)
  }

  /** The kernel lists those of all links. */
  qdiscs(linkIndex: number): Qdisc[] {
    return this.#dump('qdiscs', (writer) => writeTrafficQuestion(writer, linkIndex))
      .flatMap((reply) => decodeQdisc(reply) ?? [])
      .filter((one) => one.linkIndex === linkIndex)
      .map(({ qdisc }) => qdisc)
  }

  packetFilters(linkIndex: number): PacketFilter[] {
    return (['ingress', 'egress'] as const).flatMap((direction) =>
      this.#dump('filters', (writer) => writeTrafficQuestion(writer, linkIndex, direction)).flatMap(
        (reply) => decodePacketFilter(reply, direction) ?? [],
      ),
    )
  }

  advertisedLinks(): number[] {
    const routes = this.#dump('routes', (writer) => writeRouteHead(writer, Family.inet6))
    const addresses = this.#dump('addresses', (writer) => writer.u32(Family.inet6).u32(0))
    const found = [...routes.flatMap(advertisedRouteLinks), ...addresses.flatMap(advertisedAddressLinks)]
    return [...new Set(found)]
  }

  /** The kernel lists all ports of all bridges or none. */
  portVlans(linkIndex: number): PortVlan[] {
    const ofBridges = (writer: MessageWriter) =>
      writeIfInfo(writer, Family.bridge).attributeU32(Ifla.extMask, ExtMask.vlans)
    return this.#dump('bridge ports', ofBridges)
      .map(decodePortVlans)
      .filter((port) => port.linkIndex === linkIndex)
      .flatMap(({ vlans }) => vlans)
  }

  routeTo(address: Address): number | undefined {
    this.#memory.giveUp()
    let index: number | undefined
    const [ack] = this.#open().exchange(
      1,
      (writer, seq) => writeLookup(writer, address, seq, 'nextHop'),
      ({ type, body }) => {
        if (type === Rtm.newRoute) index = decodeRoutes(body)[0]?.linkIndex
      },
    )
    return ack?.errno === 0 ? index : undefined
  }

  routing(addresses: readonly Address[]): { routes: Route[][]; rules: PolicyRule[] } {
    this.#memory.giveUp()
    const routes: Route[][] = addresses.map(() => [])
    const rules: PolicyRule[] = []
    let first = 0
    this.#open().exchange(
      addresses.length + 1,
      (writer, seq) => {
        first = seq
        for (const [i, address] of addresses.entries()) writeLookup(writer, address, seq + i, 'entry')
        writer.begin(Rtm.getRule, Nlm.request | Nlm.dump, seq + addresses.length)
        writeRouteHead(writer, Family.unspec).end()
      },
      ({ type, seq, body }) => {
        if (type === Rtm.newRoute) routes[seq - first] = decodeRoutes(body)
        if (type === Rtm.newRule) rules.push(...[decodePolicyRule(body) ?? []].flat())
      },
    )
    return { routes, rules }
  }

  defaultRoutes(family: IpFamily, table: number): Route[] {
    const ofTable = (writer: MessageWriter) =>
      writeRouteHead(writer, familyNumber(family)).attributeU32(Rta.table, table)
    const found = this.#dump('routes', ofTable)
      .flatMap(decodeRoutes)
      .filter(
        (route) => route.dst.prefix === 0 && route.dst.address.family === family && route.table === table,
      )
    const lowest = Math.min(...found.map(({ priority = 0 }) => priority))
    return found.filter(({ priority = 0 }) => priority === lowest)
  }

  lookupRoutes(addresses: readonly Address[], changes: readonly Change[] = []): FibEntry[] {
    this.#memory.giveUp()
    const entries: FibEntry[] = []
    const answers = this.#applyAndAsk(changes, {
      count: addresses.length,
      write: (writer, first) => {
        for (const [i, address] of addresses.entries()) writeLookup(writer, address, first + i, 'entry')
      },
      onReply: ({ type, body }, index) => {
        if (type === Rtm.newRoute) entries[index] = decodeLookup(body)
      },
    })
    return answers.map(({ errno }, i) => entries[i] ?? refusedLookup(errno))
  }

  fibEntries(family: IpFamily): FibEntry[] {
    return this.#dump('routes', (writer) => writeRouteHead(writer, familyNumber(family)))
      .map(decodeLookup)
      .filter(({ table }) => table !== Table.local)
  }

  readSysctl(key: string): string | undefined {
    return this.#memory.asked(() => this.#inside(() => readSysctl(key)))
  }

  writeSysctl(key: string, value: string): void {
    this.#inside(() => writeSysctl(key, value))
  }

  probeSysctl(key: string): void {
    this.#inside(() => probeSysctl(key))
  }

  checksumOffload(link: string): boolean | undefined {
    return this.#memory.asked(() => this.#inside(() => readChecksumOffload(link)))
  }

  setChecksumOffload(link: string, isOn: boolean): void {
    this.#inside(() => writeChecksumOffload(link, isOn))
  }

  close(): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    this.#socket?.close()
    closeHandle(this.#handle)
  }

  #applyAll(changes: readonly Change[], ref?: LinkRef): Link | undefined {
    let link: Link | undefined
    const question: Question | undefined = ref && {
      count: 1,
      write: (writer, first) => writeLinkQuestion(writer, ref, first),
      onReply: ({ type, body }) => {
        if (type === Rtm.newLink) link = decodeLink(body)
      },
    }
    const [answer] = this.#applyAndAsk(changes, question)
    if (ref && answer) throwUnlessAbsent(answer, ref)
    return link
  }

  /**
   * Applies the changes, the last batch together with the question. Throws the first refusal of a change; returns the
   * acknowledgements of the question's requests.
   */
  #applyAndAsk(changes: readonly Change[], question?: Question): readonly Ack[] {
    const steps = changes.flatMap(stepsOf)
    let refused: Fault | undefined
    const onRefusal = (fault: Fault): void => {
      refused ??= fault
    }
    while (steps.length > MAX_BATCH) this.#batch(steps.splice(0, MAX_BATCH), undefined, onRefusal)
    const answers = this.#batch(steps, question, onRefusal)
    if (refused) throw refused
    return answers
  }

  /** One round trip. `onRefusal` gets the refusals of changes in their order. */
  #batch(
    steps: readonly Change[],
    question: Question | undefined,
    onRefusal: (fault: Fault) => void,
  ): readonly Ack[] {
    const count = steps.length + (question?.count ?? 0)
    if (count === 0) return []
    let firstQuestion = 0
    const acks = this.#open().exchange(
      count,
      (writer, first) => {
        firstQuestion = first + steps.length
        steps.forEach((step, i) => {
          writeChange(writer, step, first + i, peerFd(step))
        })
        question?.write(writer, firstQuestion)
      },
      (message) => {
        const index = message.seq - firstQuestion
        if (index >= 0) question?.onReply(message, index)
      },
    )
    steps.forEach((step, i) => {
      const ack = acks[i]
      if (ack && ack.errno !== 0) onRefusal(refusal(ack, describeChange(step)))
    })
    return acks.slice(steps.length)
  }

  /** Lists objects. A link that is gone and a routing table that was never used have none. */
  #dump(what: keyof typeof LISTS, body: DumpRequest['body']): Uint8Array[] {
    const request = { ...LISTS[what], body }
    const outcome = this.#open().dump(request)
    this.#memory.note(() => {
      const before = isDigestible(request.reply) && digestOf(request, outcome)
      return () => before !== false && this.#open().digest(request) === before
    })
    if (Array.isArray(outcome)) return outcome
    const fault = refusal(outcome, `list ${what}`)
    if (isErrno(fault, 'ENODEV', 'ENOENT')) return []
    throw fault
  }

  /** The kernel lists the addresses of one link, or of all links for index 0. */
  #listAddresses(linkIndex: number): PlacedAddress[] {
    return this.#dump('addresses', (writer) => writer.u32(Family.unspec).u32(linkIndex)).map(decodeAddress)
  }

  #open(): RouteSocket {
    this.#socket ??= this.#inside(() => new RouteSocket(openNetlinkSocket(NETLINK_ROUTE)))
    return this.#socket
  }

  #inside<T>(work: () => T): T {
    if (!this.#isOpen) throw new Fault('EBADF (the namespace was closed)', { errno: 'EBADF' })
    return this.#isHome ? work() : within(this.#handle, work)
  }
}

function peerFd(change: Change): number {
  if (change.op !== 'createVeth') return -1
  if (change.peerNetns instanceof LinuxNetns) return change.peerNetns.fd
  throw new Fault('a veth can only go to a namespace of this kernel')
}

/** The fixed part of a question for routes, neighbours or rules: all but the family is zero. */
function writeRouteHead(writer: MessageWriter, family: number): MessageWriter {
  return writer.u32(family).u32(0).u32(0)
}

function writeLinkQuestion(writer: MessageWriter, ref: LinkRef, seq: number): void {
  writeLinkHead(writer.begin(Rtm.getLink, Nlm.request | Nlm.ack, seq), ref)
  writer.attributeU32(Ifla.extMask, ExtMask.skipStats).end()
}

/** ENODEV is "no such link"; ERANGE is "no link can have a name this long". */
function throwUnlessAbsent(answer: Ack, ref: LinkRef): void {
  if (answer.errno === 0 || answer.errno === Errno.ENODEV || answer.errno === Errno.ERANGE) return
  throw refusal(answer, `read ${describeRef(ref)}`)
}

function describeRef(ref: LinkRef): string {
  return 'name' in ref ? `link ${ref.name}` : `link ${ref.index}`
}
