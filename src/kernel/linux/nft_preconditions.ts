import { showsElement, targetOfElement } from '../nftables/elements.ts'
import type { NftCommand } from '../nftables/objects.ts'
import { encodeGetChain, encodeGetElement, encodeGetTable } from '../nftables/questions.ts'
import type { NftAnswer } from '../nftables/reply.ts'
import { Errno } from './errno.ts'

export type Question = (seq: number) => Uint8Array<ArrayBuffer>

/** What a command takes for granted: ENOENT where the question is refused with it; else `errnoOf` judges the answer, 0 if it is met. */
type Precondition = { readonly ask: Question; readonly errnoOf: (answer: NftAnswer) => number }

/** Returns what to ask before a transaction with this command. Of one that is not the first, others may make what it takes for granted. */
export function questionsAbout(command: NftCommand, isFirst: boolean): Precondition[] {
  switch (command.op) {
    case 'ensureChain':
      return isFirst ? [{ ask: (seq) => encodeGetTable(command.chain.table, seq), errnoOf: () => 0 }] : []
    case 'flushChain':
    case 'removeChain': {
      const mustBeFree = command.op === 'removeChain'
      const errnoOf = ({ chainUse = 0 }: NftAnswer) => (mustBeFree && chainUse > 0 ? Errno.EBUSY : 0)
      return isFirst ? [{ ask: (seq) => encodeGetChain(command.chain, seq), errnoOf }] : []
    }
    case 'addElements': {
      const name = isFirst && targetOfElement(command.set, command.elements[0])
      if (!name) return []
      return [{ ask: (seq) => encodeGetChain({ table: command.set.table, name }, seq), errnoOf: () => 0 }]
    }
    case 'removeElements':
      return command.elements
        .filter(({ data }, i) => data !== undefined || (isFirst && i === 0))
        .map((element) => ({
          ask: (seq) => encodeGetElement(command.set, element, seq),
          errnoOf: ({ element: body }) => (showsElement(command.set, element, body) ? 0 : Errno.ENOENT),
        }))
    default:
      return []
  }
}
