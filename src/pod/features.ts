import type { AttachedFeature } from '../attachment/feature.ts'
import { parseAddress } from '../core/address.ts'
import { deriveNames } from '../core/names.ts'
import type { Kernel } from '../kernel/kernel.ts'
import { removeHostRoute } from './delivery.ts'
import { removeMacCheck, removeUnusedMacFrame } from './mac_check.ts'
import type { Masquerading } from './masquerading.ts'

/** Returns what an attachment may have besides its link, in the order of removal. */
export function podFeatures(kernel: Kernel, masquerading: Masquerading): AttachedFeature[] {
  return [hostRoutes(kernel), macCheck(kernel), masquerading]
}

function hostRoutes(kernel: Kernel): AttachedFeature {
  return {
    remove: (_, record) => {
      const { link = '', addresses = [] } = record?.hostRoutes ?? {}
      for (const text of addresses) removeHostRoute(kernel.host(), link, parseAddress(text))
    },
  }
}

function macCheck(kernel: Kernel): AttachedFeature {
  return {
    remove: (id, record) => {
      if (record && !record.macspoofchk) return
      const { key, hostIfName } = deriveNames(id)
      removeMacCheck(kernel, { key, hostIfName: record?.hostIfName ?? hostIfName })
    },
    removeShared: (_, record) => {
      if (!record || record.macspoofchk) removeUnusedMacFrame(kernel)
    },
  }
}
