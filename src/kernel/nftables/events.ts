import { readAttributes, readMessages, readString } from '../netlink/message.ts'
import { type RawElement, readRawElements } from './elements.ts'
import { Msg, NFNL_SUBSYS_NFTABLES, NFPROTO } from './protocol.ts'
import { isDormant } from './reply.ts'

/** What the kernel reports of a transaction: something of a table was made or is gone, by whatever program. */
export type NftEvent = {
  readonly subject: 'nftables'
  readonly isGone: boolean
  /** Such as `inet bowline`. */
  readonly table: string
  /** The chain or set: itself, or what is in it. The table itself if there is none. */
  readonly name?: string
  /** The table is switched off now. */
  readonly isDormant?: true
  /** Of the set, if it is about these alone. */
  readonly elements?: readonly RawElement[]
}

/** Which attribute of a message has the name of the chain or set; that of the table is always the first. */
const NAMES: Readonly<Record<number, number>> = {
  [Msg.newChain]: 3,
  [Msg.deleteChain]: 3,
  [Msg.newRule]: 2,
  [Msg.deleteRule]: 2,
  [Msg.newSet]: 2,
  [Msg.deleteSet]: 2,
  [Msg.newElement]: 2,
  [Msg.deleteElement]: 2,
}
const TABLE_NAME = 1
/** The family header of every nfnetlink message, before its attributes: bytes. */
const NFGEN_LENGTH = 4
const GONE: readonly number[] = [
  Msg.deleteTable,
  Msg.deleteChain,
  Msg.deleteRule,
  Msg.deleteSet,
  Msg.deleteElement,
]
const FAMILIES = new Map(Object.entries(NFPROTO).map(([name, number]) => [number as number, name]))

/** Reads what the kernel sends to the subscribers of nftables. Leaves out what is of no family that the program knows. */
export function readNftEvents(bytes: Uint8Array): NftEvent[] {
  return readMessages(bytes).flatMap(({ type, body }): NftEvent[] => {
    const kind = type & 0xff
    const family = FAMILIES.get(body[0] ?? 0)
    if (type >> 8 !== NFNL_SUBSYS_NFTABLES || family === undefined) return []
    const attributes = readAttributes(body, NFGEN_LENGTH)
    const text = (number: number) => readString(attributes.get(number) ?? new Uint8Array())
    const name = NAMES[kind]
    if (name === undefined && kind !== Msg.newTable && kind !== Msg.deleteTable) return []
    const isElement = kind === Msg.newElement || kind === Msg.deleteElement
    return [
      {
        subject: 'nftables',
        isGone: GONE.includes(kind),
        table: `${family} ${text(TABLE_NAME)}`,
        ...(name !== undefined && { name: text(name) }),
        ...(kind === Msg.newTable && isDormant(attributes) && { isDormant: true as const }),
        ...(isElement && { elements: readRawElements([body]) }),
      },
    ]
  })
}
