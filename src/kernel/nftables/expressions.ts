import type { MessageWriter } from '../netlink/message.ts'
import type { NftExpression, NftVerdict } from './commands.ts'
import {
  BitwiseAttr,
  CmpAttr,
  DataAttr,
  ExpressionAttr,
  ImmediateAttr,
  ListAttr,
  LookupAttr,
  MetaAttr,
  NFPROTO,
  PayloadAttr,
  Verdict,
  VerdictAttr,
} from './protocol.ts'

/*
 * One readable statement is several kernel expressions, which hand values on in registers. We write the same
 * expressions, attributes and order as nft does, so that `nft list ruleset` finds the statement in them again.
 */
const REGISTER_VERDICT = 0
const REGISTER_1 = 1
const META_IIFNAME = 6
const META_NFPROTO = 15
const LINK_HEADER = 0
const NETWORK_HEADER = 1
const CMP_EQ = 0
/** Where the addresses are in the IP header, and how long they are: bytes. */
const SOURCE = { 4: 12, 6: 8 } as const
const DESTINATION = { 4: 16, 6: 24 } as const
const ADDRESS_LENGTH = { 4: 4, 6: 16 } as const
/** Where the source is in the Ethernet header: bytes. */
const ETHER_SOURCE = 6

/** Writes the kernel expressions of one statement, each as a list element. */
export function writeExpression(writer: MessageWriter, expression: NftExpression): void {
  if ('verdict' in expression) {
    writeVerdictStatement(writer, expression.verdict)
    return
  }
  switch (expression.match) {
    case 'daddr':
      writeDestination(writer, expression)
      break
    case 'saddrVmap':
      writeFamilyTest(writer, expression.family)
      writePayload(writer, NETWORK_HEADER, SOURCE[expression.family], ADDRESS_LENGTH[expression.family])
      writeVmap(writer, expression.map)
      break
    case 'iifnameVmap':
      writeMeta(writer, META_IIFNAME)
      writeVmap(writer, expression.map)
      break
    case 'etherSaddr':
      writePayload(writer, LINK_HEADER, ETHER_SOURCE, expression.mac.length)
      writeEquals(writer, expression.mac)
      break
  }
}

type DestinationMatch = Extract<NftExpression, { match: 'daddr' }>

function writeVerdictStatement(writer: MessageWriter, verdict: NftVerdict): void {
  if (verdict === 'masquerade') {
    writeKernelExpression(writer, 'masq', () => {})
    return
  }
  writeKernelExpression(writer, 'immediate', () => {
    writer.attributeU32be(ImmediateAttr.register, REGISTER_VERDICT)
    writer.nest(ImmediateAttr.data, () =>
      writer.nest(DataAttr.verdict, () => writer.attributeU32be(VerdictAttr.code, Verdict[verdict])),
    )
  })
}

/** Whole bytes are compared as they are; a prefix that ends within a byte is masked first. */
function writeDestination(writer: MessageWriter, { family, address, prefix }: DestinationMatch): void {
  writeFamilyTest(writer, family)
  if (prefix === 0) return
  const whole = prefix % 8 === 0
  const length = whole ? prefix / 8 : ADDRESS_LENGTH[family]
  const mask = maskBytes(length, prefix)
  writePayload(writer, NETWORK_HEADER, DESTINATION[family], length)
  if (!whole) writeMask(writer, mask)
  writeEquals(
    writer,
    mask.map((byte, i) => byte & (address[i] ?? 0)),
  )
}

/** Where register 1 leads by the map. */
function writeVmap(writer: MessageWriter, map: string): void {
  writeKernelExpression(writer, 'lookup', () => {
    writer.attributeU32be(LookupAttr.source, REGISTER_1)
    writer.attributeU32be(LookupAttr.target, REGISTER_VERDICT)
    writer.attributeString(LookupAttr.set, map)
  })
}

/** A chain of family inet sees both families, so an address means nothing before the family is known. */
function writeFamilyTest(writer: MessageWriter, family: 4 | 6): void {
  writeMeta(writer, META_NFPROTO)
  writeEquals(writer, Uint8Array.of(NFPROTO[family]))
}

/** Loads what the kernel knows of a packet beside its bytes into register 1. */
function writeMeta(writer: MessageWriter, key: number): void {
  writeKernelExpression(writer, 'meta', () => {
    writer.attributeU32be(MetaAttr.key, key)
    writer.attributeU32be(MetaAttr.target, REGISTER_1)
  })
}

/** Loads `length` bytes at `offset` of a header into register 1. */
function writePayload(writer: MessageWriter, header: number, offset: number, length: number): void {
  writeKernelExpression(writer, 'payload', () => {
    writer.attributeU32be(PayloadAttr.target, REGISTER_1)
    writer.attributeU32be(PayloadAttr.base, header)
    writer.attributeU32be(PayloadAttr.offset, offset)
    writer.attributeU32be(PayloadAttr.length, length)
  })
}

function writeMask(writer: MessageWriter, mask: Uint8Array): void {
  writeKernelExpression(writer, 'bitwise', () => {
    writer.attributeU32be(BitwiseAttr.source, REGISTER_1)
    writer.attributeU32be(BitwiseAttr.target, REGISTER_1)
    writer.attributeU32be(BitwiseAttr.length, mask.length)
    writer.nest(BitwiseAttr.mask, () => writer.attribute(DataAttr.value, mask))
    writer.nest(BitwiseAttr.xor, () => writer.attribute(DataAttr.value, new Uint8Array(mask.length)))
  })
}

function writeEquals(writer: MessageWriter, value: Uint8Array): void {
  writeKernelExpression(writer, 'cmp', () => {
    writer.attributeU32be(CmpAttr.source, REGISTER_1)
    writer.attributeU32be(CmpAttr.operator, CMP_EQ)
    writer.nest(CmpAttr.data, () => writer.attribute(DataAttr.value, value))
  })
}

function writeKernelExpression(writer: MessageWriter, name: string, fill: () => void): void {
  writer.nest(ListAttr.element, () =>
    writer.attributeString(ExpressionAttr.name, name).nest(ExpressionAttr.data, fill),
  )
}

function maskBytes(length: number, prefix: number): Uint8Array {
  const mask = new Uint8Array(length)
  for (let i = 0; i < length; i++) mask[i] = 0xff << Math.min(8, Math.max(0, 8 * (i + 1) - prefix))
  return mask
}
