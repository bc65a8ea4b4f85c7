import { viewPool } from '../../ipam/pool.ts'
import type { Identity, Marks } from '../attachment/identity.ts'
import type { AttachmentRecord } from '../attachment/record.ts'
import { memberOf } from '../cni/validate.ts'
import { type Address, parseAddress, parseCidr } from '../core/address.ts'
import { type AttachmentId, deriveNames } from '../core/names.ts'
import type { Ports } from './ports.ts'
import { recordsOf } from './records.ts'
import { attachmentIdOf, dataDirOf, type Request } from './request.ts'

/*
 * What shows that an interface is an attachment's, see `src/attachment/identity.ts`: gathered from the record, from the lease
 * files, and from what the runtime remembers.
 */

/** By a record. `call` is the DEL of this very attachment; none when others clear it away. */
export function marksOf(ports: Ports, record: AttachmentRecord, request?: Request): Marks {
  const { netns, mode, podMac, leases, masquerade = [], bootId } = record
  const isOfThisBoot = bootId === ports.kernel.bootId()
  // Where our IPAM served another plugin, only a DEL in that plugin's place removes what it made.
  const isOurs = isOfThisBoot && (mode !== undefined || request !== undefined)
  const paths = new Set([...(netns ? [netns.path] : []), ...(request ? [request.invocation.netns] : [])])
  const identity = netns && { device: netns.device, inode: netns.inode }
  return {
    id: record,
    namespaces: [...paths]
      .filter((path) => path !== '' && isOurs)
      .map((path) => ({ path, ...(identity && { identity }) })),
    podMacs: [...(mode ? [podMac ?? deriveNames(record).podMac] : []), ...(request ? macsIn(request) : [])],
    addresses: () => [
      ...(leases?.addresses ?? []).map(parseAddress),
      ...masquerade.map((text) => parseCidr(text).address),
    ],
    wasMade: () => true,
    isClaimed: claimsBeside(ports, record),
  }
}

/**
 * Of an attachment of which nothing is written: made by another plugin, or its record is lost. Without IPAM in the config
 * the interface may be an earlier plugin's of the same list, and this plugin only connected it: then only what is derived
 * counts.
 */
export function marksOfUnrecorded(ports: Ports, request: Request): Marks {
  const id = attachmentIdOf(request)
  const { netns: path } = request.invocation
  const givesAddresses = request.config.ipam?.type !== undefined
  let leased: readonly Address[] | undefined
  const addresses = (): readonly Address[] => {
    leased ??= givesAddresses ? leasedTo(id, request, ports) : []
    return leased
  }
  return {
    id,
    namespaces: path ? [{ path }] : [],
    podMacs: [deriveNames(id).podMac, ...(givesAddresses ? macsIn(request) : [])],
    addresses,
    wasMade: () => addresses().length > 0,
    isClaimed: claimsBeside(ports, id),
  }
}

/** The MACs that the runtime remembers of the pod's interface. Whatever else `prevResult` is, it stops nothing. */
function macsIn({ config, invocation }: Request): string[] {
  const interfaces = memberOf(config.prevResult, 'interfaces')
  if (!Array.isArray(interfaces)) return []
  return interfaces.flatMap((one: unknown) => {
    const mac = memberOf(one, 'mac')
    const isPodEnd = memberOf(one, 'name') === invocation.ifName && Boolean(memberOf(one, 'sandbox'))
    return isPodEnd && typeof mac === 'string' && isMeaningful(mac) ? [mac.toLowerCase()] : []
  })
}

/** Links without a hardware address of their own show zeros. */
function isMeaningful(mac: string): boolean {
  return /[1-9a-f]/i.test(mac)
}

/** The addresses that are leased to it: by us, or by host-local under a plugin that we replaced. */
function leasedTo({ network, containerId, ifName }: AttachmentId, request: Request, ports: Ports): Address[] {
  return viewPool(ports.files, { dataDir: dataDirOf(request.config, ports), network })
    .owners()
    .filter((one) => one.containerId === containerId && (one.ifName ?? ifName) === ifName)
    .map(({ address }) => address)
}

/** Asks the records of all networks, at most once: only what nothing stronger shows depends on them. */
function claimsBeside(ports: Ports, id: AttachmentId): Marks['isClaimed'] {
  let others: readonly AttachmentRecord[] | undefined
  return (namespace: Identity, ifName?: string) => {
    others ??= otherRecords(ports, id)
    return others.some(
      ({ netns, ...one }) =>
        netns?.inode === namespace.inode &&
        netns.device === namespace.device &&
        (ifName === undefined ? one.containerId !== id.containerId : one.ifName === ifName),
    )
  }
}

/** The records of this boot of all other attachments of these networks, or of all of the node. */
export function otherRecords(
  ports: Ports,
  id: AttachmentId,
  networks: readonly string[] = recordsOf(ports).networks(),
): AttachmentRecord[] {
  const records = recordsOf(ports)
  const bootId = ports.kernel.bootId()
  const isThis = (one: AttachmentId): boolean =>
    one.network === id.network && one.containerId === id.containerId && one.ifName === id.ifName
  return networks
    .flatMap((network) => records.list(network))
    .filter((one) => one.bootId === bootId && !isThis(one))
}
