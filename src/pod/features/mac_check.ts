import { throwCollected } from '../../attachment/teardown.ts'
import { collectFaults, withAction } from '../../core/errors.ts'
import { deriveNames } from '../../core/names.ts'
import {
  ensureMacCheck,
  listMacChecks,
  macCheckObjects,
  removeMacCheck,
  removeUnusedMacFrame,
} from '../mac_check.ts'
import type { PodSpec } from '../spec.ts'
import type { NodePorts, PodFeature } from './feature.ts'
import { assertNftables } from './nftables.ts'

/**
 * Drops what a pod sends with another hardware address than its own. Made before the link is there or on the bridge, and
 * removed after it is gone: at no time can the pod send unchecked.
 */
export function macCheck({ kernel, store, locks }: NodePorts): PodFeature {
  /** Returns the keys of all records of this node, damaged ones too. */
  const allKeys = (): Set<string> =>
    new Set(store.networks().flatMap((name) => store.readFiles(name).map(({ key }) => key)))
  return {
    remember: ({ macspoofchk }) => (macspoofchk ? { macspoofchk } : {}),
    beforeLink(spec, undo) {
      if (!isOn(spec)) return
      const names = { key: deriveNames(spec.id).key, hostIfName: spec.hostIfName }
      undo.push(() => removeMacCheck(kernel, names))
      withAction('check the hardware address of what the pod sends', () => ensureMacCheck(kernel, spec))
    },
    nodeObjects: (spec) => (isOn(spec) ? macCheckObjects(spec) : []),
    remove(id, record) {
      if (record && !record.macspoofchk) return
      const { key, hostIfName } = deriveNames(id)
      removeMacCheck(kernel, { key, hostIfName: record?.hostIfName ?? hostIfName })
    },
    removeShared(_, record) {
      if (!record || record.macspoofchk) removeUnusedMacFrame(kernel)
    },
    /**
     * A check does not say whose it is: it is an orphan if no record of any network knows it, and its link is gone. For as
     * long as the link is there, its pod could send unchecked.
     */
    removeOrphans(network) {
      const checks = listMacChecks(kernel)
      // Read after the checks: an ADD writes its record first.
      const known = allKeys()
      const orphans = checks.filter(
        ({ key, hostIfName }) => !known.has(key) && kernel.host().link({ name: hostIfName }) === undefined,
      )
      const faults = collectFaults(
        orphans.map((names) => () => {
          locks.whenIdle(names.key, () => {
            if (!allKeys().has(names.key)) removeMacCheck(kernel, names)
          })
        }),
      )
      throwCollected(faults, `checks of hardware addresses of network ${network}`, 'GC')
      if (store.readFiles(network).length === 0) removeUnusedMacFrame(kernel)
    },
    precheck({ macspoofchk }) {
      if (macspoofchk) assertNftables(kernel, 'macspoofchk')
    },
  }
}

function isOn({ bridge, config }: PodSpec): boolean {
  return bridge !== undefined && config.macspoofchk === true
}
