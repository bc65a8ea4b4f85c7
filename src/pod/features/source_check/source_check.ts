import { areRecorded } from '../../../attachment/store.ts'
import type { NetworkConfig } from '../../../cni/config.ts'
import type { Desired } from '../../../state/desired.ts'
import type { PodSpec } from '../../spec.ts'
import type { NodePorts, PodFeature } from '../feature.ts'
import { assertNftables } from '../nftables.ts'
import { checkPorts } from '../port_check.ts'
import { SOURCE_CHECK } from './bridged.ts'
import {
  askForSourceRule,
  ensureSourceRule,
  hasSourceRule,
  needsSourceRule,
  POD_GROUP,
  removeUnneededSourceRule,
  restoreSourceRule,
  sourceRule,
} from './routed.ts'

/** Drops what a pod on a bridge sends from another address than its own, where the config asks for it. */
export function bridgedSourceCheck(node: NodePorts): PodFeature {
  return checkPorts(SOURCE_CHECK, node)
}

/**
 * Drops what a routed pod sends from another address than its own, unless the config says otherwise. Without the key, a
 * kernel without nftables is no error: there IPv4 alone is checked, by rp_filter.
 */
export function routedSourceCheck(node: NodePorts): PodFeature {
  const { kernel, store } = node
  return {
    remember: (config) => (config.mode === 'l3' && config.ipspoofchk === false ? { ipspoofchk: false } : {}),
    hostEnd: (spec, objects) =>
      objects.map((one) => (one.kind === 'link' ? withSourceCheck(spec, one) : one)),
    beforeLink(spec) {
      if (isOn(spec.config)) askForSourceRule(kernel)
    },
    afterLink({ id, config }, undo) {
      if (!isOn(config)) return
      const isMade = ensureSourceRule(kernel, config.ipspoofchk === undefined)
      if (isMade) undo.push(() => removeUnneededSourceRule(node, id))
    },
    nodeObjects: ({ config }) =>
      isOn(config) && (config.ipspoofchk || hasNftables(node)) ? [sourceRule(kernel)] : [],
    removeShared(_, record) {
      if (!record || needsSourceRule(record)) removeUnneededSourceRule(node)
    },
    removeOrphans(network, valid) {
      if (hasSourceRule(kernel) && areRecorded(store, network, valid)) removeUnneededSourceRule(node)
    },
    restore: () => restoreSourceRule(node),
    precheck(config) {
      if (config.mode === 'l3' && config.ipspoofchk) assertNftables(kernel, 'ipspoofchk')
    },
  }
}

function isOn({ mode, ipspoofchk }: NetworkConfig): boolean {
  return mode === 'l3' && ipspoofchk !== false
}

/** Where it is off, a pod may forward: the link does not inherit a strict setting of the node. */
function withSourceCheck({ config }: PodSpec, link: Extract<Desired, { kind: 'link' }>): Desired {
  const rpFilter = isOn(config)
  return { ...link, ...(rpFilter && { group: POD_GROUP }), ipv4: { ...link.ipv4, rpFilter } }
}

function hasNftables({ kernel }: NodePorts): boolean {
  try {
    kernel.nftables.probe()
    return true
  } catch {
    return false
  }
}
