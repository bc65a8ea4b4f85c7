import { addressBytes, addressFromBytes, type Family } from '../../core/address.ts'
import type { Connection, ConnectionFilter } from '../traffic.ts'
import { familyNumber } from './changes.ts'
import { MessageWriter, Nlm, readAttributes, readU32be } from './message.ts'

/* Connections that the kernel tracks. Source: linux/netfilter/nfnetlink_conntrack.h. */
const NFNL_SUBSYS_CTNETLINK = 1 << 8
const Msg = { new: 0, get: 1, delete: 2 } as const
const Cta = { original: 1, reply: 2, status: 3, id: 12, zone: 18, filter: 25, statusMask: 26 } as const
/** IPS_*. Source: linux/netfilter/nf_conntrack_common.h. */
const Status = { seenReply: 2, sourceTranslated: 16, destinationTranslated: 32 } as const
const CtaTuple = { ip: 1, protocol: 2 } as const
const CtaIp = { 4: { source: 1, destination: 2 }, 6: { source: 3, destination: 4 } } as const
const CtaProtocol = { number: 1, destinationPort: 3 } as const
const CtaFilter = { original: 1, reply: 2 } as const
/** Which fields of a tuple a dump is filtered by. Source: net/netfilter/nf_internals.h. */
const FilterFlag = { source: 1, protocol: 8, destinationPort: 32 } as const
const NLA_F_NESTED = 0x8000
/** The family header of every nfnetlink message, before its attributes: bytes. */
const NFGEN_LENGTH = 4

/** Asks for connections. The kernel filters by the family, from 5.8 on by the rest too; before, it ignores what it does not know. */
export function connectionDump({
  family,
  protocol,
  port,
  answeredBy,
  isTranslated,
  isUnansweredTranslation,
}: ConnectionFilter) {
  // Addresses of IPv6 are compared the wrong way round: the kernel leaves out those that are equal (ctnetlink_filter_match_tuple, 6.18).
  const answering = family === 4 ? answeredBy : undefined
  const original =
    (port === undefined ? 0 : FilterFlag.destinationPort) | (protocol ? FilterFlag.protocol : 0)
  return {
    request: NFNL_SUBSYS_CTNETLINK | Msg.get,
    reply: NFNL_SUBSYS_CTNETLINK | Msg.new,
    body: (writer: MessageWriter) => {
      writeFamily(writer, family)
      if (original) {
        writer.nest(Cta.original, () =>
          writer.nest(CtaTuple.protocol, () => {
            writer.attributeU8(CtaProtocol.number, protocol ?? 0)
            if (port !== undefined) writer.attributeU16be(CtaProtocol.destinationPort, port)
          }),
        )
      }
      if (answering) {
        writer.nest(Cta.reply, () =>
          writer.nest(CtaTuple.ip, () => writer.attribute(CtaIp[family].source, addressBytes(answering))),
        )
      }
      if (isTranslated) writer.attributeU32be(Cta.status, Status.destinationTranslated)
      if (isUnansweredTranslation) {
        writer.attributeU32be(Cta.status, Status.sourceTranslated)
        writer.attributeU32be(Cta.statusMask, Status.sourceTranslated | Status.seenReply)
      }
      writer.nest(Cta.filter, () => {
        if (original) writer.attributeU32(CtaFilter.original, original)
        if (answering) writer.attributeU32(CtaFilter.reply, FilterFlag.source)
      })
    },
  }
}

/** Reads the answers. Those that a kernel without filters sends as well are left out, and so is what has no ports. */
export function readConnections(filter: ConnectionFilter, bodies: readonly Uint8Array[]): Connection[] {
  return bodies.flatMap((body) => {
    const attributes = readAttributes(body, NFGEN_LENGTH)
    const original = readTuple(filter.family, attributes.get(Cta.original))
    const reply = readTuple(filter.family, attributes.get(Cta.reply))
    if (!original?.source || !original.destination || !reply?.source) return []
    const status = readU32be(attributes.get(Cta.status)) ?? 0
    const isWaiting = (status & (Status.sourceTranslated | Status.seenReply)) === Status.sourceTranslated
    if (filter.isUnansweredTranslation && !isWaiting) return []
    const { protocol, source: client, destination, destinationPort: port } = original
    const connection = { protocol, client, destination, port, answeredBy: reply.source }
    return isMeant(filter, connection) ? [{ ...connection, identity: identityOf(attributes) }] : []
  })
}

function isMeant(filter: ConnectionFilter, connection: Omit<Connection, 'identity'>): boolean {
  return (
    (filter.protocol === undefined || filter.protocol === connection.protocol) &&
    (filter.port === undefined || filter.port === connection.port) &&
    (filter.answeredBy === undefined || filter.answeredBy.value === connection.answeredBy.value)
  )
}

/** Asks for the end of one connection. The answer is an acknowledgement: ENOENT if it is gone, or another one by now. */
export function encodeForget({ destination, identity }: Connection, seq: number): Uint8Array<ArrayBuffer> {
  const writer = new MessageWriter()
  writer.begin(NFNL_SUBSYS_CTNETLINK | Msg.delete, Nlm.request | Nlm.ack, seq)
  return writeFamily(writer, destination.family).bytes(identity).end().finish()
}

function writeFamily(writer: MessageWriter, family: Family): MessageWriter {
  return writer.u8(familyNumber(family))
}

/** The number that the kernel gives a connection tells it from a later one between the same ends. */
function identityOf(attributes: Pick<ReadonlyMap<number, Uint8Array>, 'get'>): Uint8Array {
  const writer = new MessageWriter()
  for (const type of [Cta.original, Cta.zone, Cta.id]) {
    const value = attributes.get(type)
    if (value) writer.attribute(type === Cta.original ? type | NLA_F_NESTED : type, value)
  }
  return writer.finish().slice()
}

function readTuple(family: Family, bytes: Uint8Array | undefined) {
  if (!bytes) return undefined
  const tuple = readAttributes(bytes)
  const ip = tuple.nested(CtaTuple.ip)
  const proto = tuple.nested(CtaTuple.protocol)
  const address = (type: number) => {
    const bytes = ip.get(type)
    return bytes && addressFromBytes(bytes)
  }
  const value = proto.get(CtaProtocol.destinationPort)
  return {
    source: address(CtaIp[family].source),
    destination: address(CtaIp[family].destination),
    protocol: proto.get(CtaProtocol.number)?.[0] ?? 0,
    destinationPort: value ? ((value[0] ?? 0) << 8) | (value[1] ?? 0) : 0,
  }
}
