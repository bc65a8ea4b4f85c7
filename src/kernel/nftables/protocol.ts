/** Numbers of the nf_tables protocol. Source: linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h. */

/** The subsystem, in the upper byte of a message type and in the batch's `res_id`. */
export const NFNL_SUBSYS_NFTABLES = 10
export const NFNL_MSG_BATCH_BEGIN = 0x10
export const NFNL_MSG_BATCH_END = 0x11
export const NFPROTO = { inet: 1, 4: 2, bridge: 7, 6: 10 } as const

export const Msg = {
  newTable: 0,
  getTable: 1,
  deleteTable: 2,
  newChain: 3,
  getChain: 4,
  deleteChain: 5,
  newRule: 6,
  getRule: 7,
  deleteRule: 8,
  newSet: 9,
  deleteSet: 11,
  newElement: 12,
  getElement: 13,
  deleteElement: 14,
  newGeneration: 15,
  getGeneration: 16,
} as const

/** On a removal: refuse with EBUSY rather than take along what is inside. */
export const NLM_F_NONREC = 0x100

export const TableAttr = { name: 1, flags: 2 } as const
/** A flag of a table whose chains are not at their hooks. */
export const TABLE_DORMANT = 1
/** A flag of a table that belongs to a socket. */
export const TABLE_OWNER = 2
export const ChainAttr = { table: 1, name: 3, hook: 4, policy: 5, use: 6, type: 7 } as const
export const HookAttr = { number: 1, priority: 2 } as const
/** The same numbers in families inet and bridge. */
export const HOOK_NUMBERS = { prerouting: 0, input: 1, forward: 2, output: 3, postrouting: 4 } as const
export const RuleAttr = { table: 1, chain: 2, expressions: 4 } as const
export const ListAttr = { element: 1 } as const
export const SetAttr = {
  table: 1,
  name: 2,
  flags: 3,
  keyType: 4,
  keyLength: 5,
  dataType: 6,
  dataLength: 7,
  description: 9,
  id: 10,
  timeout: 11,
  userData: 13,
} as const
export const ElementListAttr = { table: 1, set: 2, elements: 3, setId: 4 } as const
export const SetDescriptionAttr = { size: 1, concat: 2 } as const
export const ElementAttr = { key: 1, data: 2, flags: 3, timeout: 4, userData: 6, keyEnd: 10 } as const
export const DataAttr = { value: 1, verdict: 2 } as const
export const VerdictAttr = { code: 1, chain: 2 } as const
export const ExpressionAttr = { name: 1, data: 2 } as const

/** Attributes of the kernel's expressions; `source` and `target` are registers. */
export const MetaAttr = { target: 1, key: 2, source: 3 } as const
export const CtAttr = { target: 1, key: 2, direction: 3, source: 4 } as const
export const PayloadAttr = { target: 1, base: 2, offset: 3, length: 4 } as const
export const BitwiseAttr = { source: 1, target: 2, length: 3, mask: 4, xor: 5, operation: 6 } as const
export const CmpAttr = { source: 1, operator: 2, data: 3 } as const
export const LookupAttr = { set: 1, source: 2, target: 3, setId: 4, flags: 5 } as const
export const ImmediateAttr = { register: 1, data: 2 } as const

/** The register of verdicts, and the first of those for values. */
export const REGISTER_VERDICT = 0
export const REGISTER_1 = 1
/** A flag of a lookup: go on where the set has no such element. */
export const NFT_LOOKUP_F_INV = 1

export const SetFlag = {
  anonymous: 0x1,
  constant: 0x2,
  interval: 0x4,
  map: 0x8,
  timeout: 0x10,
  dynamic: 0x20,
  concat: 0x80,
} as const
/** A flag of the element behind the last key of an interval. */
export const NFT_SET_ELEM_INTERVAL_END = 0x1
/** The data type of a verdict map. */
export const NFT_DATA_VERDICT = 0xffffff00

/** Verdict codes as the unsigned numbers that go on the wire. */
export const VERDICTS = {
  drop: 0,
  accept: 1,
  continue: -1 >>> 0,
  jump: -3 >>> 0,
  goto: -4 >>> 0,
  return: -5 >>> 0,
} as const
