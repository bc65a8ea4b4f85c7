import { leasePath, ownerOf } from '../../ipam/leases.ts'
import type { Reaper } from '../../ipam/reconcile.ts'
import { isOwnAlias } from '../attachment/alias.ts'
import { findHostEnd, hostLinksOf } from '../attachment/identity.ts'
import type { AttachmentRecord } from '../attachment/record.ts'
import { isDamaged } from '../attachment/store.ts'
import { type Address, formatAddress, parseCidr } from '../core/address.ts'
import { isErrno } from '../core/errors.ts'
import { type AttachmentId, deriveBridgeMac } from '../core/names.ts'
import { distinct } from '../core/text.ts'
import type { Link } from '../kernel/kernel.ts'
import type { NodeState } from '../pod/node_state.ts'
import { endMasquerade, ensureMasquerade } from './masquerading.ts'
import { LOCK_TIMEOUT_MS, type Ports } from './ports.ts'
import { recordsOf } from './records.ts'
import { removeFromKernel, throwCollected } from './teardown.ts'

/** Judges attachments whose DEL has never come, for a pool that is full. */
export function reaperOf(ports: Ports): Reaper {
  const hostLinks = hostLinksOf(ports.kernel)
  return {
    isDead: (record) => isDead(ports, record, hostLinks),
    clear: (record) =>
      throwCollected(removeFromKernel(ports, record, { hostLinks }).faults, record.containerId),
  }
}

/** What an attachment must know of the others, from their records; `dataDir` is where its own network has its leases. */
export function nodeStateOf(ports: Ports, id: AttachmentId, dataDir = ports.paths.dataDir): NodeState {
  const { network, containerId, ifName } = id
  const records = recordsOf(ports)
  const isThis = (one: AttachmentId): boolean =>
    one.network === network && one.containerId === containerId && one.ifName === ifName
  return {
    lockBridge: (name, kind) => records.lockBridge(name, LOCK_TIMEOUT_MS, kind),
    // A record without a mode is of addresses only, for a plugin that makes its own interface.
    isOnlyPod: () =>
      records.networks().every((one) => records.list(one).every((record) => isThis(record) || !record.mode)),
    holderOf: (address) => holderOf(ports, address, network),
    leaseHolderOf: (address) => leaseHolderOf(ports, address, network, dataDir),
    isOwnLink: (link) => isOwnLink(ports, link),
    noteHostRoute(linkName, address) {
      const record = records.read({ network, containerId, ifName })
      if (!record || isDamaged(record)) return
      const addresses = distinct(
        [...(record.hostRoutes?.addresses ?? []), formatAddress(address)],
        (one) => one,
      )
      records.write({ ...record, hostRoutes: { link: linkName, addresses } })
    },
    ensureMasquerade: (cidrs, undo) => ensureMasquerade(ports, id, cidrs, undo),
    endMasquerade: (cidrs, undo) => endMasquerade(ports, id, cidrs, undo),
  }
}

/** A namespace that is gone takes its links along in its own time: as long as that is waited for. */
const CLEANUP_MS = 1000
const STEP_MS = 10

/**
 * By the records of other networks: ours gives an address once. What another IPAM plugin gave stands there only if it is
 * masqueraded.
 */
function holderOf(ports: Ports, address: Address, ownNetwork: string): string | undefined {
  const records = recordsOf(ports)
  const text = formatAddress(address)
  for (const network of records.networks().filter((name) => name !== ownNetwork)) {
    const found = records
      .list(network)
      .find((record) => addressesOf(record).includes(text) && mayLive(ports, record))
    if (found) return describeHolder(found)
  }
  return undefined
}

/** The same by the leases of other networks, as far as those are where this network has its own: a look at each network. */
function leaseHolderOf(
  ports: Ports,
  address: Address,
  ownNetwork: string,
  dataDir: string,
): string | undefined {
  const records = recordsOf(ports)
  for (const network of records.networks().filter((name) => name !== ownNetwork)) {
    const text = ports.files.read(leasePath(`${dataDir}/${network}`, address)) ?? ''
    const { containerId, ifName } = ownerOf(address, text) ?? {}
    if (containerId === undefined || ifName === undefined) continue
    const record = records.read({ network, containerId, ifName })
    if (record && !isDamaged(record) && mayLive(ports, record)) return describeHolder(record)
  }
  return undefined
}

function describeHolder({ containerId, ifName, network }: AttachmentRecord): string {
  return `${containerId} ${ifName} of network ${network}`
}

/** Whether somebody may still have the addresses of this record. */
function mayLive(ports: Ports, record: AttachmentRecord): boolean {
  if (record.bootId !== ports.kernel.bootId() || isDead(ports, record)) return false
  if (!record.netns || isThere(ports, record.netns)) return true
  for (let waitedMs = 0; waitedMs < CLEANUP_MS; waitedMs += STEP_MS) {
    ports.kernel.pause(STEP_MS)
    if (isDead(ports, record)) return false
  }
  return true
}

function addressesOf({ leases, masquerade = [], chained }: AttachmentRecord): string[] {
  const masqueraded = masquerade.map((cidr) => formatAddress(parseCidr(cidr).address))
  return [...(leases?.addresses ?? []), ...(chained?.addresses ?? []), ...masqueraded]
}

/** A bridge that was there before is ours as long as a record names it; a VLAN link goes with its bridge. */
function isOwnLink(ports: Ports, link: Link): boolean {
  if (isOwnAlias(link.alias)) return true
  if (link.vlan?.parent !== undefined) {
    const parent = ports.kernel.host().link({ index: link.vlan.parent })
    return parent !== undefined && isOwnLink(ports, parent)
  }
  if (link.kind !== 'bridge') return false
  if (link.mac === deriveBridgeMac(link.name, ports.kernel.bootId())) return true
  const records = recordsOf(ports)
  return records
    .networks()
    .some((network) => records.list(network).some(({ bridge }) => bridge === link.name))
}

/**
 * Whether nobody will miss it: the namespace of its pod does not exist any more where it was, and neither does the
 * host's end of its link, by whatever name, which the kernel removes with the namespace. Whoever has no link (IPAM alone) is judged by
 * the namespace. An attachment of which the namespace was never known is never dead, nor one without a link whose path
 * went through a process: that may end while others of the pod keep the namespace (nerdctl and dockershim name it so).
 */
function isDead(ports: Ports, record: AttachmentRecord, hostLinks = hostLinksOf(ports.kernel)): boolean {
  const { netns, hostIfName, chained } = record
  if (!netns || isThere(ports, netns)) return false
  if (hostIfName === undefined) return !/^\/+proc\//.test(netns.path)
  const host = ports.kernel.host()
  return (
    (chained ? host.link({ index: chained.ifIndex }) : findHostEnd(host, record, hostLinks)) === undefined
  )
}

function isThere(ports: Ports, { path, device, inode }: NonNullable<AttachmentRecord['netns']>): boolean {
  try {
    const netns = ports.kernel.openNetns(path)
    netns.close()
    return netns.identity.device === device && netns.identity.inode === inode
  } catch (error) {
    // Anything else, such as a want of rights, says nothing about it.
    return !isErrno(error, 'ENOENT', 'EINVAL')
  }
}
