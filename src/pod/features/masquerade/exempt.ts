import type { AttachmentRecord } from '../../../attachment/record.ts'
import type { NetworkConfig } from '../../../cni/config.ts'
import { type Address, FAMILIES, formatAddress, parseCidr } from '../../../core/address.ts'
import { isErrno, withAction } from '../../../core/errors.ts'
import { type AttachmentId, ownerText } from '../../../core/names.ts'
import type { Kernel } from '../../../kernel/kernel.ts'
import { MAX_COMMENT_BYTES } from '../../../kernel/nftables/elements.ts'
import { type NftElement, removeElements } from '../../../kernel/nftables/objects.ts'
import type { DesiredNftElement } from '../../../state/desired.ts'
import { createNft } from '../../../state/nft.ts'
import type { PodSpec } from '../../spec.ts'
import type { NodePorts, PodFeature } from '../feature.ts'
import { lossesAmong, restoreEach } from '../restore.ts'
import { baseObject, EXEMPT_SETS, LOCK } from './shared.ts'

/**
 * Lets a pod that asks for it speak to everybody with its own address, although its network is masqueraded: an element for each address.
 * The runtime passes the pod's annotations as a capability: containerd from 1.5 on, CRI-O from 1.28 on.
 */
export function masqueradeExemption(node: NodePorts): PodFeature {
  const { kernel, store, locks } = node
  return {
    remember: (config) => (isExempt(config) ? { masqueradeExempt: true } : {}),
    recall: (config, { masqueradeExempt }) =>
      masqueradeExempt
        ? { ...config, args: { ...config.args, cni: { ...config.args?.cni, masquerade: false } } }
        : config,
    afterLink(spec, undo) {
      if (!isExempt(spec.config)) return
      undo.push(() => removeExemptions(kernel, spec.id))
      withAction('keep the address of the pod', () => exempt(kernel, exemptObjects(spec)))
    },
    nodeObjects: (spec) => (isExempt(spec.config) ? exemptObjects(spec) : []),
    restore(configOf) {
      if (!locks.wasFeatureLocked(LOCK)) return []
      return restoreEach(node, (record) => {
        const isMeant = record.masqueradeExempt && configOf(record.network)?.ipMasq !== false
        return isMeant ? lossesAmong(kernel, recordedObjects(record)) : undefined
      })
    },
    remove(id, record) {
      if (record ? record.masqueradeExempt : locks.wasFeatureLocked(LOCK)) removeExemptions(kernel, id)
    },
    removeOrphans() {
      const present = listExemptions(kernel)
      if (present.length === 0) return
      // Read after the elements: an ADD writes its record first.
      const known = new Set(store.list().map(commentOf))
      removeAll(
        kernel,
        present.filter(({ comment = '' }) => !known.has(comment)),
      )
    },
  }
}

/** What the runtime passes beats what the config says for all of its pods. */
function isExempt({ ipMasq, runtimeConfig, args }: NetworkConfig): boolean {
  const annotation = runtimeConfig?.['io.kubernetes.cri.pod-annotations']?.['bowline.io/masquerade']
  return (
    ipMasq === true && (annotation === undefined ? args?.cni?.masquerade === false : annotation === 'false')
  )
}

function recordedObjects(record: AttachmentRecord): DesiredNftElement[] {
  const { masquerade = [] } = record
  return objectsOf(
    record,
    masquerade.map((text) => parseCidr(text).address),
  )
}

function exemptObjects({ id, ips }: PodSpec): DesiredNftElement[] {
  return objectsOf(
    id,
    ips.map(({ cidr }) => cidr.address),
  )
}

function objectsOf(id: AttachmentId, addresses: readonly Address[]): DesiredNftElement[] {
  return addresses.map((address) => ({
    kind: 'nftElement',
    set: EXEMPT_SETS[address.family],
    element: { key: address, comment: commentOf(id) },
    otherwise: `the pod is masqueraded although it asked not to be: the nftables element of ${formatAddress(address)}`,
  }))
}

/** An element that a lost pod of the same address has left says whose it was. */
function exempt(kernel: Kernel, objects: readonly DesiredNftElement[]): void {
  const { nftables } = kernel
  const left = objects.flatMap(({ set, element: { key, comment } }) => {
    const found = nftables.element(set, key)
    return found && found.comment !== comment ? [removeElements(set, { key })] : []
  })
  try {
    nftables.apply([...left, ...createNft(objects)])
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error
    nftables.apply(createNft([baseObject(), ...objects]))
  }
}

function removeExemptions(kernel: Kernel, id: AttachmentId): void {
  removeAll(
    kernel,
    listExemptions(kernel).filter(({ comment }) => comment === commentOf(id)),
  )
}

function removeAll({ nftables }: Kernel, elements: readonly NftElement<Address>[]): void {
  if (elements.length === 0) return
  nftables.apply(elements.map(({ key }) => removeElements(EXEMPT_SETS[key.family], { key })))
}

function listExemptions({ nftables }: Kernel): NftElement<Address>[] {
  return FAMILIES.flatMap((family) => nftables.elements(EXEMPT_SETS[family]))
}

function commentOf(id: Pick<AttachmentId, 'containerId' | 'ifName'>): string {
  return ownerText(id).slice(0, MAX_COMMENT_BYTES)
}
