import { ignoreErrnos, isErrno, withAction } from '../../core/errors.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import type { NftCommand, NftTable } from '../../kernel/nftables/objects.ts'
import { TABLE } from '../../state/own_table.ts'

/** The table in which all features have what they do to packets of IP. */
export const POD_TABLE = TABLE

/** Throws a Fault if the kernel has no nftables, or refuses it to this process. `key` is what needs it. */
export function assertNftables(kernel: Kernel, key: string): void {
  withAction(`use nftables, which the key "${key}" needs`, () => kernel.nftables.probe(), {
    hint: `Load the kernel module nf_tables (modprobe nf_tables) and run with CAP_NET_ADMIN, or remove "${key}".`,
  })
}

/**
 * Applies removals that leave nothing of a feature in the table, and removes the table with them unless another feature is in it: in one
 * transaction, since nobody would look for an empty table again.
 */
export function removeFromTable(
  { nftables }: Kernel,
  removals: readonly NftCommand[],
  table: NftTable = POD_TABLE,
): void {
  try {
    nftables.apply([...removals, { op: 'removeTable', table }])
  } catch (error) {
    if (!isErrno(error, 'EBUSY')) throw error
    nftables.apply(removals)
  }
}

/** Removes what a feature's pods have in common, as `removeFromTable` does, unless it is gone or some pod still needs it. */
export function removeFrame(kernel: Kernel, table: NftTable, frame: readonly NftCommand[]): void {
  ignoreErrnos(['EBUSY', 'ENOENT'], () => removeFromTable(kernel, frame, table))
}
