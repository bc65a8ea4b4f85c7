import type { PluginRunner } from '../cni/delegate.ts'
import type { Files } from '../core/files.ts'
import type { Kernel } from '../kernel/kernel.ts'

/** All that a command can reach. The one-shot process and a resident one hand in the same things. */
export type Ports = {
  readonly kernel: Kernel
  readonly files: Files
  readonly plugins: PluginRunner
  readonly paths: Paths
}

export type Paths = {
  /** Where the attachment records are: the same for every network, whatever its config says. */
  readonly recordsDir: string
  /** Where the leases are when the key `ipam.dataDir` says nothing. */
  readonly dataDir: string
}

export const DEFAULT_PATHS: Paths = {
  recordsDir: '/var/lib/cni/bowline',
  dataDir: '/var/lib/cni/networks',
}

/** How long a call waits for another one that holds a lock, before it answers "try again later". */
export const LOCK_TIMEOUT_MS = 15_000
