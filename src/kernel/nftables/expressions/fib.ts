import { ByteOrder } from '../datatypes.ts'
import { Cmp, compare, type Expression, type Field, type KernelExpression } from '../expression.ts'
import { integer, namedType } from '../numbers.ts'
import { REGISTER_1 } from '../protocol.ts'

/* What the routing table says of an address of the packet. NFTA_FIB_*, NFTA_FIB_F_*, NFT_FIB_RESULT_*. */
const FibAttr = { target: 1, result: 2, flags: 3 } as const
const ENDS = { saddr: 1, daddr: 2 } as const
const Flag = { iif: 8, present: 32 } as const
const Result = { oif: 1, addrtype: 3 } as const
/** RTN_*. */
const TYPES = { unicast: 1, local: 2, broadcast: 3, multicast: 5, blackhole: 6, unreachable: 7 } as const

/** `fib daddr type`, such as local: an address of the node's own. */
export function fibType(end: keyof typeof ENDS): Field<keyof typeof TYPES> {
  const type = { name: 'fib_addrtype', number: 40, length: 4, order: ByteOrder.host }
  return {
    text: `fib ${end} type`,
    type: namedType(type, TYPES),
    load: (register) => [fib(register, ENDS[end], Result.addrtype)],
  }
}

/** `fib saddr . iif oif missing`: an answer would not leave by the interface that the packet came in by. Only in prerouting, input and forward. */
export function isSpoofed(): Expression {
  return reversePath('missing', 0)
}

/** `fib saddr . iif oif exists`: an answer could leave by that interface. */
export function hasReversePath(): Expression {
  return reversePath('exists', 1)
}

function reversePath(word: string, found: number): Expression {
  const look = fib(REGISTER_1, ENDS.saddr | Flag.iif | Flag.present, Result.oif)
  const kernel = [look, compare(Cmp.eq, integer.encode(found))]
  return { text: `fib saddr . iif oif ${word}`, kernel }
}

function fib(register: number, flags: number, result: number): KernelExpression {
  return [
    'fib',
    [
      [FibAttr.flags, flags],
      [FibAttr.result, result],
      [FibAttr.target, register],
    ],
  ]
}
