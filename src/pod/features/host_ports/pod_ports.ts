import type { AttachmentRecord } from '../../../attachment/record.ts'
import type { NetworkConfig } from '../../../cni/config.ts'
import {
  type Cidr,
  defaultRouteOf,
  formatAddress,
  hostCidr,
  networkOf,
  parseCidr,
} from '../../../core/address.ts'
import { type HostPort, parseHostPort } from '../../../core/host_port.ts'
import { distinct } from '../../../core/text.ts'
import type { Kernel } from '../../../kernel/kernel.ts'
import { describeElements } from '../../../kernel/nftables/describe.ts'
import type { Desired } from '../../../state/desired.ts'
import { gatewayLinkName } from '../../desired.ts'
import type { PodSpec } from '../../spec.ts'
import { type Claim, claimsOf } from './claims.ts'
import { allEntries, clientEntry, type Entry, localnetEntry } from './entries.ts'
import { frameObjects, loopbackOf } from './frame.ts'
import { describePlace, hostPortsOf } from './host_port.ts'
import { commentOf } from './owners.ts'

/** What a pod needs for its host ports. */
export type PodPorts = {
  readonly ports: readonly HostPort[]
  readonly claims: readonly Claim[]
  /** Those of its clients whose source changes. */
  readonly clients: readonly Entry[]
  /** The link by which the node gets what the pod sends. */
  readonly link: string
  /** Programs of the node reach the pod by 127.0.0.1. */
  readonly isLocal: boolean
  /** All elements, with whose they are. */
  readonly entries: readonly Entry[]
}

/** Who has ports: a pod that is described, or one that is recorded. */
export type PortOwner = Pick<PodSpec, 'id' | 'config' | 'ips' | 'mode' | 'hostIfName' | 'podName'> & {
  readonly bridge?: Parameters<typeof gatewayLinkName>[0]
}

/** Returns a recorded attachment as an owner, with the present config of its network. */
export function ownerOf(record: AttachmentRecord, config: NetworkConfig): PortOwner {
  const { mode = 'l2', bridge: name, hostIfName = '', hostPorts } = record
  const { isGateway, isDefaultGateway, vlan } = config
  return {
    id: record,
    config,
    mode,
    hostIfName,
    ips: (hostPorts?.pods ?? []).map((text) => ({ cidr: parseCidr(text) })),
    ...(name !== undefined && {
      bridge: { name, isGateway: Boolean(isGateway || isDefaultGateway), ...(vlan && { gatewayVlan: vlan }) },
    }),
  }
}

/** Returns what the pod needs; undefined if the runtime asks for no port, or only for some of a family that the pod does not have. */
export function podPortsOf(kernel: Kernel, spec: PortOwner): PodPorts | undefined {
  const { id, config, ips, podName } = spec
  const ports = config.runtimeConfig?.portMappings ? hostPortsOf(config) : []
  const pods = ips.map(({ cidr }) => cidr)
  const claims = claimsOf(ports, pods)
  if (claims.length === 0) return undefined
  const isMeant = ({ address }: Cidr) => claims.some(({ at }) => at.family === address.family)
  const clients = pods
    .filter(isMeant)
    .flatMap((pod) => clientsOf(kernel, spec, pod).map((one) => clientEntry(one, pod.address)))
  const link = linkTo(kernel, spec)
  const isLocal = config.snat !== false && claims.some(({ at }) => leadsFromLocalhost(at))
  const comment = commentOf(id, podName)
  const elements = [...claims.map(({ entry }) => entry), ...clients]
  return {
    ports,
    claims,
    clients,
    link,
    isLocal,
    entries: [
      ...elements.map(({ set, element }) => ({ set, element: { ...element, comment } })),
      ...(isLocal ? writtenLinks(spec, link, comment) : []),
    ],
  }
}

/** The link of a pod goes with it, unless it is another plugin's. */
function writtenLinks({ mode, hostIfName }: PortOwner, link: string, comment: string): Entry[] {
  if (link !== hostIfName) return [localnetEntry(link)]
  return mode === 'chained' ? [localnetEntry(link, comment)] : []
}

/** Returns the objects of the node that host ports need. */
export function podPortObjects({ claims, clients, entries }: PodPorts): Desired[] {
  const ofPorts = claims.map(
    ({ port }) => `host port ${describePlace(port)} does not lead to the pod: its nftables element`,
  )
  const ofClients = clients.map(
    () => 'some clients of the host ports would get no answer: the nftables element',
  )
  const texts = [...ofPorts, ...ofClients]
  return [
    ...frameObjects(),
    ...entries.flatMap(({ set, element }, i): Desired[] => {
      const otherwise = texts[i]
      return otherwise === undefined ? [] : [{ kind: 'nftElement', set, element, otherwise }]
    }),
  ]
}

/** Returns all elements that a recorded attachment can have, whatever its config said. */
export function possibleEntries({ hostPorts, hostIfName, chained }: AttachmentRecord): Entry[] {
  const { ports, pods } = hostPorts ?? { ports: [], pods: [] }
  const cidrs = pods.map(parseCidr)
  const claims = claimsOf(ports.map(parseHostPort), cidrs)
  const clients = cidrs.flatMap((pod) => {
    const { family } = pod.address
    const all = [networkOf(pod), hostCidr(pod.address), defaultRouteOf(family), ...loopbackOf(family)]
    return all.map((one) => clientEntry(one, pod.address))
  })
  return [
    ...claims.map(({ entry }) => entry),
    ...distinct(clients, ({ set, element: { key } }) => set.key.show(key)),
    ...(chained && hostIfName !== undefined ? [localnetEntry(hostIfName)] : []),
  ]
}

/**
 * Returns the clients whose source becomes the node's address. The pod itself would take an answer to itself for its own, and 127.0.0.1 is
 * an address of the pod too. On a bridge the other pods of the subnet are answered directly, past the node. Keys of the reference plugin.
 */
function clientsOf(kernel: Kernel, spec: PortOwner, pod: Cidr): Cidr[] {
  const { family } = pod.address
  if (spec.config.snat === false) return []
  if (spec.config.masqAll) return [defaultRouteOf(family)]
  return [isBridged(kernel, spec) ? networkOf(pod) : hostCidr(pod.address), ...loopbackOf(family)]
}

function isBridged(kernel: Kernel, { bridge, mode, hostIfName }: PortOwner): boolean {
  return (
    bridge !== undefined ||
    (mode === 'chained' && kernel.host().link({ name: hostIfName })?.master !== undefined)
  )
}

/** Behind another plugin the link is the one that the node's route to the pod names. */
function linkTo(kernel: Kernel, { bridge, mode, hostIfName, ips }: PortOwner): string {
  if (bridge) return gatewayLinkName(bridge)
  if (mode !== 'chained') return hostIfName
  const host = kernel.host()
  const [entry] = host.lookupRoutes(ips.slice(0, 1).map(({ cidr }) => cidr.address))
  const [hop] = entry?.type === 'unicast' ? entry.hops : []
  return (hop && host.link({ index: hop.linkIndex })?.name) ?? hostIfName
}

function leadsFromLocalhost(at: Claim['at']): boolean {
  return at.family === 4 && (at.value === 0n || formatAddress(at).startsWith('127.'))
}

/** Returns the elements of all host ports of the node in words, for `missingPorts`. */
export function presentPorts(kernel: Kernel): ReadonlySet<string> {
  return new Set(allEntries(kernel).map(textOf))
}

/** Returns which of its ports do not lead to a recorded pod, such as `8080/tcp`. */
export function missingPorts(
  { ports, pods }: NonNullable<AttachmentRecord['hostPorts']>,
  present: ReadonlySet<string>,
): string[] {
  const claims = claimsOf(ports.map(parseHostPort), pods.map(parseCidr))
  const missing = claims.filter(({ entry }) => !present.has(textOf(entry)))
  return [...new Set(missing.map(({ port }) => describePlace(port)))]
}

function textOf({ set, element: { key, data } }: Entry): string {
  return describeElements(set, [{ key, data }])
}
