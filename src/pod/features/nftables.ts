import { withAction } from '../../core/errors.ts'
import type { Kernel } from '../../kernel/kernel.ts'

/** Throws a Fault if the kernel has no nftables, or refuses it to this process. `key` is what needs it. */
export function assertNftables(kernel: Kernel, key: string): void {
  withAction(`use nftables, which the key "${key}" needs`, () => kernel.nftables.probe(), {
    hint: `Load the kernel module nf_tables (modprobe nf_tables) and run with CAP_NET_ADMIN, or remove "${key}".`,
  })
}
