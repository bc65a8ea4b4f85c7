/**
 * A reader of rtnetlink requests that shares nothing with the code under test. It leaves out what two tools may do
 * differently and mean the same: the order of attributes, the NESTED flag, a NUL at the end of a name, a destination of
 * nothing but zeros, the table of a rate that no kernel reads any more, and numbers that belong to the moment (the sequence number, the descriptor of a namespace).
 */
export type NetlinkTree = {
  type: number
  flags: number
  /** The fixed part, as hex digits. */
  head: string
  attributes: AttributeTree[]
}
export type AttributeTree = [type: number, value: string | AttributeTree[]]

type Shape = { [type: number]: Shape | 'name' | 'moment' | 'link' | 'unless zero' | 'left out' }

const HEADS: Record<number, number> = { 4: 16, 5: 8, 6: 12, 7: 12, 9: 20, 11: 20 }
const LINK: Shape = {
  3: 'name',
  18: { 1: 'name', 2: { 1: 'link' }, 4: 'name', 5: {} },
  20: 'name',
  26: { 2: { 1: {} }, 10: {} },
  28: 'moment',
}
const BRIDGE: Shape = { 26: {} }
const ROUTE: Shape = { 1: 'unless zero', 8: {} }
const QDISC: Shape = { 1: 'name', 2: { 2: 'left out' } }
const FILTER: Shape = { 1: 'name', 2: { 7: { 1: { 1: 'name', 2: {} } } } }
const AF_BRIDGE = 7

/** Reads one message, given as hex digits or bytes. */
export function treeOf(message: string | Uint8Array): NetlinkTree {
  const bytes = typeof message === 'string' ? Buffer.from(message, 'hex') : Buffer.from(message)
  if (bytes.readUInt32LE(0) !== bytes.length)
    throw new Error(`${bytes.length} bytes are not one whole message`)
  const type = bytes.readUInt16LE(4)
  const start = 16 + (HEADS[type >> 2] ?? 0)
  const shapes: Record<number, Shape> = {
    4: bytes[16] === AF_BRIDGE ? BRIDGE : LINK,
    6: ROUTE,
    9: QDISC,
    11: FILTER,
  }
  const shape = shapes[type >> 2] ?? {}
  const head = bytes.toString('hex', 16, start)
  return { type, flags: bytes.readUInt16LE(6), head, attributes: attributesOf(bytes.subarray(start), shape) }
}

function attributesOf(bytes: Buffer, shape: Shape): AttributeTree[] {
  const attributes: AttributeTree[] = []
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUInt16LE(at)
    if (length < 4 || at + length > bytes.length)
      throw new Error(`attribute of ${length} bytes at ${at} of ${bytes.length}`)
    const type = bytes.readUInt16LE(at + 2) & 0x3fff
    const value = bytes.subarray(at + 4, at + length)
    const isZero = shape[type] === 'unless zero' && value.every((byte) => byte === 0)
    const isLeftOut = isZero || shape[type] === 'left out'
    if (!isLeftOut) attributes.push([type, readValue(value, shape[type])])
    at += (length + 3) & ~3
  }
  return attributes.sort((a, b) => a[0] - b[0] || (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))
}

function readValue(bytes: Buffer, shape: Shape[number] | undefined): string | AttributeTree[] {
  if (shape === undefined || shape === 'unless zero' || shape === 'left out') return bytes.toString('hex')
  if (shape === 'moment') return 'any'
  if (shape === 'name') return bytes.toString('utf8').replace(/\0$/, '')
  if (shape !== 'link') return attributesOf(bytes, shape)
  // Only a veth carries a whole link in its data; a bridge or a VLAN has numbers there.
  if (bytes.length < 16) return bytes.toString('hex')
  return [[-1, bytes.toString('hex', 0, 16)], ...attributesOf(bytes.subarray(16), LINK)]
}
