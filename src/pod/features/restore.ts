import type { AttachmentRecord } from '../../attachment/record.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import { apply } from '../../state/apply.ts'
import type { Desired } from '../../state/desired.ts'
import { difference } from '../../state/difference.ts'
import { observe } from '../../state/observe.ts'
import type { NodePorts } from './feature.ts'

/** What an attachment has lost, in words, and what makes it again. */
export type Losses = { readonly words: readonly string[]; mend(): void }

/**
 * Makes again what attachments of this boot have lost, one by one. Returns what that was, in words. One that a call works on is left to it:
 * its DEL removes what it has before the record.
 */
export function restoreEach(
  { kernel, locks, store }: NodePorts,
  lossesOf: (record: AttachmentRecord) => Losses | undefined,
): readonly string[] {
  const bootId = kernel.bootId()
  const recorded = store.list().filter((record) => record.bootId === bootId && lossesOf(record))
  return recorded.flatMap((record) => {
    const restored = locks.whenIdle(record, () => {
      const now = store.read(record)
      const losses = now && lossesOf(now)
      losses?.mend()
      return losses?.words ?? []
    })
    return restored ?? []
  })
}

/** Returns what of these objects is missing or wrong. */
export function lossesAmong(
  kernel: Pick<Kernel, 'nftables'>,
  desired: readonly Desired[],
): Losses | undefined {
  const observed = observe(kernel, desired)
  const losses = difference(desired, observed)
  if (losses.length === 0) return undefined
  return { words: losses.map(({ what }) => what), mend: () => apply(kernel, losses, observed) }
}
