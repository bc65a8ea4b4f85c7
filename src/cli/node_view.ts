import { leaseDirOf } from '../../ipam/reconcile.ts'
import { isAliasOfNetwork, ownerOfAlias } from '../attachment/alias.ts'
import { findHostEnd } from '../attachment/identity.ts'
import { isDead } from '../attachment/liveness.ts'
import type { AttachmentRecord } from '../attachment/record.ts'
import { isNewer, isUnreadable, soundRecords } from '../attachment/store.ts'
import { bitsOf, contains, type Family, formatAddress, parseCidr } from '../core/address.ts'
import type { Files } from '../core/files.ts'
import { type AttachmentId, deriveNames, hostIfNameOf } from '../core/names.ts'
import { distinct } from '../core/text.ts'
import type { Link } from '../kernel/kernel.ts'
import { isFrameWhole } from '../pod/features/host_ports/frame.ts'
import { missingPorts, presentPorts } from '../pod/features/host_ports/pod_ports.ts'
import { MAC_CHECK } from '../pod/features/mac_check.ts'
import { listMasquerade } from '../pod/features/masquerade/subnets.ts'
import { listChecks } from '../pod/features/port_check.ts'
import type { CommandContext } from './command.ts'

/** An attachment as it is written, and what there is of it. */
export type AttachmentView = {
  readonly record: AttachmentRecord
  /** The host's end of its link. */
  readonly link: Link | undefined
  /** Why nothing of it is needed any more. */
  readonly stale?: string
  /** What is not as ADD left it, as far as it can be seen from the host. Of a stale one, nothing. */
  readonly drift: readonly string[]
}

/** What it takes to look at a node. */
type Seer = Pick<CommandContext, 'ports' | 'files' | 'isInContainer'>

export type NodeView = {
  readonly links: readonly Link[]
  readonly attachments: readonly AttachmentView[]
  /** `NETWORK/KEY` of each record that cannot be read and of which the node has no link. */
  readonly damaged: readonly string[]
  /** How many records a later release has written. */
  readonly newer: number
  /** The links of pods that may live, though their record cannot be read. */
  readonly unread: readonly Link[]
}

/**
 * Looks at all attachments of the node from the host, with as few questions as possible: one for all links, one for all routes,
 * one for each map of nftables. CHECK and `bowline repair` look into each pod as well.
 */
export function viewNode(seer: Seer): NodeView {
  const { ports } = seer
  const { kernel, store } = ports
  const stored = store.networks().map((network) => ({ network, files: store.readFiles(network) }))
  const records = stored.flatMap(({ files }) => soundRecords(files))
  const links = kernel.host().links()
  const unreadable = stored.flatMap(({ network, files }) =>
    files.filter(isUnreadable).map(({ key }) => ({
      place: `${network}/${key}`,
      link: links.find((link) => isLinkOf(network, key, link)),
    })),
  )
  const seen = observe(seer, records, links)
  return {
    links,
    attachments: records.map((record) => {
      const named = seen.byName.get(record.hostIfName ?? '')
      const link = named ?? (record.hostIfName ? findHostEnd(kernel.host(), record, () => links) : undefined)
      const stale = whyStale(ports, record, () => links)
      if (stale) return { record, link, stale, drift: [] }
      return { record, link, drift: record.mode ? driftOf(record, link, seen) : [] }
    }),
    damaged: unreadable.flatMap(({ place, link }) => (link ? [] : [place])),
    newer: stored.reduce((sum, { files }) => sum + files.filter(isNewer).length, 0),
    unread: unreadable.flatMap(({ link }) => link ?? []),
  }
}

/** The host's end of a pair goes with the pod's namespace: while it is there, the pod may live. */
function isLinkOf(network: string, key: string, { name, alias }: Link): boolean {
  if (!isAliasOfNetwork(alias, network)) return false
  const owner = ownerOfAlias(alias)
  return owner ? deriveNames(owner).key === key : name === hostIfNameOf(key)
}

/** Returns the attachments of which something is wrong on this boot. */
export function drifted({ attachments }: NodeView): AttachmentView[] {
  return attachments.filter(({ drift }) => drift.length > 0)
}

export function stale({ attachments }: NodeView): AttachmentView[] {
  return attachments.filter((one) => one.stale !== undefined)
}

/** Returns `NAMESPACE/NAME` of the pod if the runtime has kept it, else the beginning of the container's id. */
export function podName(files: Files, { network, containerId, ifName }: AttachmentId): string {
  const args: unknown = readCached(files, `${network}-${containerId}-${ifName}`)?.cniArgs
  const pairs: unknown[][] = Array.isArray(args) ? args.filter(Array.isArray) : []
  // Names go into commands that a person copies.
  const [namespace, name] = ['K8S_POD_NAMESPACE', 'K8S_POD_NAME'].map((key) => {
    const value = pairs.find(([one]) => one === key)?.[1]
    return typeof value === 'string' && /^\w[\w.-]*$/.test(value) ? value : undefined
  })
  return name ? `${namespace ?? 'default'}/${name}` : containerId.slice(0, 13)
}

/** Where libcni keeps the results of ADD, for containerd and CRI-O as well. */
export const RESULTS_DIR = '/var/lib/cni/results'

/** A file of it. Source: libcni, cachedInfo. */
export type CachedResult = {
  /** `cniCacheV1`. */
  readonly kind: string
  readonly containerId: string
  /** Base64 of the configuration list. */
  readonly config: string
  readonly ifName: string
  readonly networkName: string
  readonly netns?: string
  readonly cniArgs?: readonly (readonly [key: string, value: string])[]
  readonly result: Record<string, unknown>
}

/** Returns a cached result; undefined if there is none, or nothing sound. */
export function readCached(files: Files, name: string): CachedResult | undefined {
  try {
    const value = JSON.parse(files.readForeign(`${RESULTS_DIR}/${name}`) ?? 'null') as CachedResult | null
    return typeof value?.networkName === 'string' ? value : undefined
  } catch {
    return undefined
  }
}

/** Returns why nothing of an attachment is needed any more; undefined if its pod may live. */
export function whyStale(
  { kernel }: CommandContext['ports'],
  record: AttachmentRecord,
  links?: () => readonly Link[],
): string | undefined {
  if (record.bootId !== kernel.bootId()) return 'of an earlier boot'
  return isDead(kernel, record, links) ? 'its pod is gone' : undefined
}

type Seen = {
  readonly byName: ReadonlyMap<string, Link>
  /** `ADDRESS INDEX` of each route to one address. */
  readonly routes: ReadonlySet<string>
  readonly masqueraded: ReturnType<typeof listMasquerade>
  readonly checked: ReadonlySet<string>
  readonly ports: ReadonlySet<string>
  /** The addresses that are leased, for each directory of leases that can be seen. */
  readonly leases: ReadonlyMap<string, ReadonlySet<string>>
  /** What all host ports have in common is there. */
  readonly hasPortRules: boolean
}

/** Asks only for what some attachment has. */
function observe(seer: Seer, records: readonly AttachmentRecord[], links: readonly Link[]): Seen {
  const { kernel } = seer.ports
  const routed = records.filter(({ mode }) => mode === 'l3')
  const families = ([4, 6] as const).filter((family) =>
    routed.some(({ leases }) =>
      leases?.addresses.some((address) => address.includes(':') === (family === 6)),
    ),
  )
  const hasPorts = records.some(({ hostPorts }) => hostPorts)
  return {
    byName: new Map(links.map((link) => [link.name, link])),
    routes: new Set(families.flatMap((family) => hostRoutes(kernel.host(), family))),
    masqueraded: records.some(({ masquerade }) => masquerade) ? listMasquerade(kernel) : [],
    checked: new Set(
      records.some(({ macspoofchk }) => macspoofchk)
        ? listChecks(kernel, MAC_CHECK).map(({ hostIfName }) => hostIfName)
        : [],
    ),
    ports: hasPorts ? presentPorts(kernel) : new Set(),
    leases: leasesOf(seer, records),
    hasPortRules: hasPorts && isFrameWhole(kernel),
  }
}

/** A directory that the agent's container does not show may be one that is not mounted there. */
function leasesOf(
  { ports: { pools }, files, isInContainer }: Seer,
  records: readonly AttachmentRecord[],
): ReadonlyMap<string, ReadonlySet<string>> {
  const places = records.flatMap(({ network, leases }) =>
    leases ? { network, dataDir: leases.dataDir } : [],
  )
  const each = distinct(places, leaseDirOf).filter(
    (place) => !isInContainer || files.modeOf(leaseDirOf(place)) !== undefined,
  )
  return new Map(
    each.map((place) => {
      const leased = pools.view(place.network, place.dataDir).addresses()
      return [leaseDirOf(place), new Set(leased.map(formatAddress))]
    }),
  )
}

function hostRoutes(host: ReturnType<CommandContext['ports']['kernel']['host']>, family: Family): string[] {
  return host.fibEntries(family).flatMap(({ type, dst, hops: [hop] }) => {
    if (type !== 'unicast' || dst?.prefix !== bitsOf(family) || !hop) return []
    return [`${formatAddress(dst.address)} ${hop.linkIndex}`]
  })
}

function driftOf(record: AttachmentRecord, link: Link | undefined, seen: Seen): string[] {
  const { network, hostIfName = '', bridge, mode, leases, masquerade = [], macspoofchk, hostPorts } = record
  if (!record.complete) return ['its ADD was not completed']
  if (!link) return [`host interface ${hostIfName} is missing`]
  const { name } = link
  const held = leases && seen.leases.get(leaseDirOf({ network, dataDir: leases.dataDir }))
  const missing = mode === 'l3' ? (leases?.addresses ?? []) : []
  return [
    name !== hostIfName && `host interface ${hostIfName} was renamed to ${name}`,
    !link.up && `${name} is down`,
    bridge !== undefined &&
      link.master !== seen.byName.get(bridge)?.index &&
      `${name} is not a port of bridge ${bridge}`,
    ...missing.map(
      (address) => !seen.routes.has(`${address} ${link.index}`) && `route ${address} is missing on ${name}`,
    ),
    ...(leases?.addresses ?? []).map(
      (address) => held && !held.has(address) && `address ${address} is not leased to it`,
    ),
    ...masquerade.map((cidr) => !isMasqueraded(cidr, seen) && `${cidr} is not masqueraded`),
    hostPorts && !seen.hasPortRules && 'rules of host ports are missing in table inet bowline',
    ...(hostPorts ? missingPorts(hostPorts, seen.ports) : []).map(
      (port) => `host port ${port} does not lead to the pod`,
    ),
    macspoofchk && !seen.checked.has(hostIfName) && `the MAC of ${hostIfName} is not checked`,
  ].filter((one) => one !== false && one !== undefined)
}

function isMasqueraded(cidr: string, { masqueraded }: Seen): boolean {
  const { address } = parseCidr(cidr)
  return masqueraded.some(({ subnet }) => contains(subnet, address))
}
