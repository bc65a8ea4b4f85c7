import { ignoreErrnos, withAction } from '../../core/errors.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import { TABLE } from '../../state/own_table.ts'

/** The table in which all features have what they do to packets of IP. */
export const POD_TABLE = TABLE

/** Throws a Fault if the kernel has no nftables, or refuses it to this process. `key` is what needs it. */
export function assertNftables(kernel: Kernel, key: string): void {
  withAction(`use nftables, which the key "${key}" needs`, () => kernel.nftables.probe(), {
    hint: `Load the kernel module nf_tables (modprobe nf_tables) and run with CAP_NET_ADMIN, or remove "${key}".`,
  })
}

/** Removes the table of the features once none of them has a chain or a set in it. */
export function removeUnusedTable({ nftables }: Kernel): void {
  ignoreErrnos(['ENOENT', 'EBUSY'], () => nftables.apply([{ op: 'removeTable', table: POD_TABLE }]))
}
