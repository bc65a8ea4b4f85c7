import { type Expression, immediate } from '../expression.ts'
import { REGISTER_VERDICT } from '../protocol.ts'
import { describeVerdict, encodeVerdict, type NftVerdict, targetOf } from '../verdict.ts'

export const accept = decide('accept')
export const drop = decide('drop')
/** Back to the calling chain; of a base chain, its policy. */
export const back = decide('return')

export function jump(chain: string): Expression {
  return decide({ jump: chain })
}

/** Like a jump, but without coming back. */
export function goto(chain: string): Expression {
  return decide({ goto: chain })
}

function decide(verdict: NftVerdict): Expression {
  const chain = targetOf(verdict)
  return {
    text: describeVerdict(verdict),
    kernel: [immediate(REGISTER_VERDICT, encodeVerdict(verdict))],
    ...(chain !== undefined && { chain }),
  }
}
