import { type Address, addressBytes } from '../../core/address.ts'
import { Code, Fault, isErrno } from '../../core/errors.ts'
import { describeChange } from '../describe.ts'
import type { Change, Link, LinkAddress, LinkRef, Neighbour, Netns, Route } from '../kernel.ts'
import { familyNumber, writeChange, writeIfInfo, writeLinkHead } from '../netlink/changes.ts'
import {
  type Ack,
  type Message,
  MessageWriter,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_REQUEST,
  NLMSG_DONE,
  readAck,
  readMessages,
} from '../netlink/message.ts'
import { decodeAddress, decodeLink, decodeNeighbour, decodeRoute } from '../netlink/replies.ts'
import { Family, Nda, Rta, Rtm } from '../netlink/rtnetlink.ts'
import { errnoName } from './errno.ts'
import { closeHandle, type NamespaceHandle, within } from './namespace.ts'
import { type NetlinkSocket, openNetlinkSocket } from './socket.ts'
import { readSysctl, writeSysctl } from './sysctl.ts'

const NETLINK_ROUTE = 0
/** Requests in one send: their answers must fit the socket's receive buffer. */
const MAX_BATCH = 64
const MAX_DATAGRAMS = 100_000
const MAX_DUMPS = 5

/** A network namespace by way of one rtnetlink socket, which is opened when it is first needed. */
export class LinuxNetns implements Netns {
  readonly identity: NamespaceHandle['identity']
  readonly #handle: NamespaceHandle
  readonly #isHome: boolean
  #socket: NetlinkSocket | undefined
  #seq = 0

  constructor(handle: NamespaceHandle, isHome: boolean) {
    this.identity = handle.identity
    this.#handle = handle
    this.#isHome = isHome
  }

  /** Where the other end of a veth pair goes. */
  get fd(): number {
    return this.#handle.fd
  }

  apply(changes: readonly Change[]): void {
    for (let at = 0; at < changes.length; at += MAX_BATCH) this.#batch(changes.slice(at, at + MAX_BATCH))
  }

  applyAndRead(changes: readonly Change[], link: LinkRef): Link {
    const found = this.#batch(changes, link)
    if (found) return found
    throw new Fault(`link ${JSON.stringify(link)} is gone as soon as it was made`, { errno: 'ENODEV' })
  }

  link(ref: LinkRef): Link | undefined {
    return this.#batch([], ref)
  }

  links(): Link[] {
    return this.#dump((writer) => writeIfInfo(writer, Family.unspec), Rtm.getLink, Rtm.newLink).map(
      decodeLink,
    )
  }

  addresses(linkIndex: number): LinkAddress[] {
    const head = (writer: MessageWriter): void => void writer.u32(Family.unspec).u32(linkIndex)
    return this.#dump(head, Rtm.getAddr, Rtm.newAddr)
      .map(decodeAddress)
      .filter((address) => address.linkIndex === linkIndex)
      .map(({ linkIndex: _, ...address }) => address)
  }

  routes(linkIndex: number): Route[] {
    const head = (writer: MessageWriter): void =>
      void writer.u32(Family.unspec).u32(0).u32(0).attributeU32(Rta.oif, linkIndex)
    return this.#dump(head, Rtm.getRoute, Rtm.newRoute)
      .map(decodeRoute)
      .filter((route) => route?.linkIndex === linkIndex)
      .flatMap((route) => route ?? [])
  }

  neighbours(linkIndex: number): Neighbour[] {
    const head = (writer: MessageWriter): void =>
      void writer.u32(Family.unspec).u32(0).u32(0).attributeU32(Nda.linkIndex, linkIndex)
    return this.#dump(head, Rtm.getNeigh, Rtm.newNeigh)
      .map(decodeNeighbour)
      .filter((neighbour) => neighbour?.linkIndex === linkIndex)
      .flatMap((neighbour) => neighbour ?? [])
  }

  routeTo(address: Address): number | undefined {
    const bytes = addressBytes(address)
    const seq = ++this.#seq
    const writer = new MessageWriter(64).begin(Rtm.getRoute, NLM_F_REQUEST | NLM_F_ACK, seq)
    writer
      .u8(familyNumber(address.family))
      .u8(8 * bytes.length)
      .u16(0)
      .u32(0)
      .u32(0)
    writer.attribute(Rta.dst, bytes).end()
    let index: number | undefined
    const acks = this.#exchange(writer.finish(), 1, ({ type, body }) => {
      if (type === Rtm.newRoute) index = decodeRoute(body)?.linkIndex
    })
    return acks.get(seq)?.errno === 0 ? index : undefined
  }

  readSysctl(key: string): string | undefined {
    return this.#inside(() => readSysctl(key))
  }

  writeSysctl(key: string, value: string): void {
    this.#inside(() => writeSysctl(key, value))
  }

  close(): void {
    this.#socket?.close()
    this.#socket = undefined
    closeHandle(this.#handle)
  }

  /** Sends changes and, after them, a question for one link. Throws the first refusal of a change. */
  #batch(changes: readonly Change[], ref?: LinkRef): Link | undefined {
    const writer = new MessageWriter()
    const first = this.#seq + 1
    for (const change of changes) {
      const fd = change.op === 'createVeth' ? fdOf(change.peerNetns) : -1
      writeChange(writer, change, ++this.#seq, fd)
    }
    if (ref) {
      writeLinkHead(writer.begin(Rtm.getLink, NLM_F_REQUEST | NLM_F_ACK, ++this.#seq), ref)
      writer.end()
    }
    let link: Link | undefined
    const acks = this.#exchange(writer.finish(), changes.length + (ref ? 1 : 0), ({ type, body }) => {
      if (type === Rtm.newLink) link = decodeLink(body)
    })
    for (const [index, change] of changes.entries()) throwRefused(acks.get(first + index), change)
    if (ref) throwUnlessAbsent(acks.get(this.#seq), ref)
    return link
  }

  /** Sends requests and receives until each has its acknowledgement. */
  #exchange(requests: Uint8Array, count: number, onReply: (message: Message) => void): Map<number, Ack> {
    const acks = new Map<number, Ack>()
    if (count === 0) return acks
    const socket = this.#open()
    socket.send(requests)
    for (let i = 0; acks.size < count && i < MAX_DATAGRAMS; i++) {
      for (const message of readMessages(socket.receive())) {
        const ack = readAck(message)
        if (ack) acks.set(message.seq, ack)
        else onReply(message)
      }
    }
    return acks
  }

  /** The kernel says when a table changed under a dump (NLM_F_DUMP_INTR): then the dump is made again. */
  #dump(head: (writer: MessageWriter) => unknown, request: number, reply: number): Uint8Array[] {
    for (let attempt = 0; attempt < MAX_DUMPS; attempt++) {
      const bodies = this.#dumpOnce(head, request, reply)
      if (bodies) return bodies
    }
    throw new Fault(`the kernel’s tables changed during ${MAX_DUMPS} dumps in a row`, {
      code: Code.tryLater,
      cure: 'Try again; something on this node changes links or routes all the time.',
    })
  }

  #dumpOnce(
    head: (writer: MessageWriter) => unknown,
    request: number,
    reply: number,
  ): Uint8Array[] | undefined {
    const seq = ++this.#seq
    const writer = new MessageWriter(64).begin(request, NLM_F_REQUEST | NLM_F_DUMP, seq)
    head(writer)
    const socket = this.#open()
    socket.send(writer.end().finish())
    const bodies: Uint8Array[] = []
    let interrupted = false
    for (let i = 0; i < MAX_DATAGRAMS; i++) {
      for (const message of readMessages(socket.receive())) {
        if (message.seq !== seq) continue
        interrupted ||= (message.flags & NLM_F_DUMP_INTR) !== 0
        if (message.type === NLMSG_DONE) return interrupted ? undefined : bodies
        const ack = readAck(message)
        if (ack) throw refusal(ack, 'dump')
        // The receive buffer is used again: what is kept must be copied.
        if (message.type === reply) bodies.push(message.body.slice())
      }
    }
    throw new Fault(`a dump of more than ${MAX_DATAGRAMS} datagrams`, { code: Code.tryLater })
  }

  #open(): NetlinkSocket {
    this.#socket ??= this.#inside(() => openNetlinkSocket(NETLINK_ROUTE))
    return this.#socket
  }

  #inside<T>(work: () => T): T {
    return this.#isHome ? work() : within(this.#handle, work)
  }
}

function fdOf(netns: Netns): number {
  if (netns instanceof LinuxNetns) return netns.fd
  throw new Fault('a veth can only go to a namespace of this kernel')
}

function throwRefused(ack: Ack | undefined, change: Change): void {
  if (!ack) throw new Fault(`${describeChange(change)}: the kernel gave no answer`, { code: Code.tryLater })
  if (ack.errno !== 0) throw refusal(ack, describeChange(change))
}

function throwUnlessAbsent(ack: Ack | undefined, ref: LinkRef): void {
  if (!ack || ack.errno === 0) return
  const fault = refusal(ack, `read link ${JSON.stringify(ref)}`)
  if (!isErrno(fault, 'ENODEV')) throw fault
}

function refusal({ errno, text }: Ack, action: string): Fault {
  const name = errnoName(errno)
  return new Fault(`${action}: ${name}${text ? ` (${text})` : ''}`, { errno: name })
}
