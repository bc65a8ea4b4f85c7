import { type Locks, openLocks } from '../attachment/locks.ts'
import { openStore } from '../attachment/store.ts'
import type { AttachmentPorts } from '../attachment/teardown.ts'
import type { PluginRunner } from '../cni/delegate.ts'
import type { Files } from '../core/files.ts'
import type { Kernel } from '../kernel/kernel.ts'
import type { PodFeature } from '../pod/features/feature.ts'
import { podFeatures } from '../pod/features/registry.ts'
import { Pools } from './pools.ts'

/** What a composition root passes in: a process of one call, and one that stays, alike. */
export type Adapters = {
  readonly kernel: Kernel
  readonly files: Files
  readonly plugins: PluginRunner
}

/** All that a command can reach. */
export type Ports = Adapters &
  Omit<AttachmentPorts, 'features'> & {
    readonly locks: Locks
    readonly pools: Pools
    readonly features: readonly PodFeature[]
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

/** Opens the store, the locks and the pools of a node, once for all calls of a process. Touches nothing yet. */
export function openPorts(adapters: Adapters, { recordsDir, dataDir }: Paths = DEFAULT_PATHS): Ports {
  const { kernel, files } = adapters
  const store = openStore(files, recordsDir)
  const locks = openLocks(files, recordsDir)
  const attachments = { kernel, store, locks, features: podFeatures({ kernel, store, locks }) }
  const pools = new Pools(files, attachments, dataDir)
  return { ...adapters, ...attachments, pools }
}
