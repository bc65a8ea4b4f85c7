import {
  type Address,
  bitsOf,
  contains,
  type Family,
  formatAddress,
  formatCidr,
  networkOf,
} from '../../core/address.ts'
import { Fault } from '../../core/errors.ts'
import type { Link, Netns } from '../../kernel/kernel.ts'
import { planSets, poolUseOf } from '../../plugin/addresses.ts'
import { podSpecOf } from '../../plugin/pod_spec.ts'
import { OWN_IPAM } from '../../plugin/request.ts'
import { gatewayLinkName, networkObjects } from '../../pod/desired.ts'
import { planPod } from '../../pod/plan.ts'
import type { PodSpec } from '../../pod/spec.ts'
import { uplinkMtu } from '../../pod/uplink.ts'
import { hostPlace } from '../../state/desired.ts'
import { difference } from '../../state/difference.ts'
import type { Difference } from '../../state/explain.ts'
import { observe } from '../../state/observe.ts'
import type { CommandContext } from '../command.ts'
import type { NetworkFile } from '../networks.ts'
import { type AttachmentView, type NodeView, podName } from '../node_view.ts'
import { poolUsage } from '../pool_usage.ts'
import { error, type Finding, warning } from './finding.ts'

/** Returns what stops the pods of a network, or will stop the next one. */
export function checkNetwork(
  context: CommandContext,
  network: NetworkFile,
  view: NodeView,
  binDir: string,
): Finding[] {
  const { config } = network
  if (!config) return []
  const { kernel, features } = context.ports
  const live = view.attachments.filter(({ record, stale }) => record.network === config.name && !stale)
  const failed = statusOf(context, network, binDir)
  const spec = samplePod(context, network)
  if (!spec) return failed
  const place = hostPlace(kernel.host())
  const links = live.flatMap(({ link }) => link ?? [])
  const entry = spec.bridge ? view.links.find(({ name }) => name === bridgeLink(spec)) : links[0]
  const stopped = features.flatMap((feature) => feature.diagnose?.(spec, place, entry) ?? [])
  return [
    ...failed,
    ...stopped.flatMap((one) => {
      if (!/^the node does not forward/.test(one.what)) return [finding('firewall', one)]
      // The first ADD turns it on.
      return live.length > 0 ? [finding('forwarding', one)] : []
    }),
    ...(live.length > 0 ? sharedObjects(context, spec) : []),
    ...notForwarding(place.netns, spec, links),
    ...wideLinks(context.files, place.netns, spec, live, entry),
    ...overlaps(place.netns, spec, [...links, ...(entry ? [entry] : [])], unrecorded(context, network, view)),
  ]
}

/** Returns the finding of a difference, whose commands are the hint. */
function finding(check: string, { what, steps }: Difference): Finding {
  const hint = steps.map(({ command }) => command).join(' && ')
  return error(check, what, hint || 'bowline repair')
}

/** STATUS of the plugin: whether an ADD could be served. */
function statusOf(
  { callPlugin }: CommandContext,
  { name, text = '' }: NetworkFile,
  binDir: string,
): Finding[] {
  const config = JSON.stringify({ ...(JSON.parse(text) as object), cniVersion: '1.1.0' })
  const { exitCode, stdout } = callPlugin({ command: 'STATUS', config, cniPath: binDir })
  if (exitCode === 0) return []
  const { msg, details = '' } = JSON.parse(stdout) as { msg: string; details?: string }
  return [error('status', `network ${name} can take no pod: ${msg}`, details)]
}

/** A pod as the next one would be, with the first address of each range set; none without addresses of our own. */
function samplePod({ ports }: CommandContext, { config }: NetworkFile): PodSpec | undefined {
  if (config?.ipam?.type !== OWN_IPAM) return undefined
  const ips = planSets(config, poolUseOf({ mode: config.mode ?? 'l2' })).flatMap(({ ranges }) =>
    ranges.slice(0, 1).map(({ subnet, start, gateway }) => ({
      cidr: { address: gateway?.value === start.value ? firstAfter(start) : start, prefix: subnet.prefix },
      ...(gateway && { gateway }),
    })),
  )
  const id = { network: config.name, containerId: 'doctor', ifName: 'eth0' }
  return podSpecOf(ports.kernel, id, config, { ips: [] }, { ips, routes: [] })
}

function firstAfter(address: Address): Address {
  return { ...address, value: address.value + 1n }
}

function bridgeLink({ bridge }: PodSpec): string | undefined {
  return bridge && gatewayLinkName(bridge)
}

/** Compares what all pods of the network share: the bridge with its addresses, and the rules that masquerade. */
function sharedObjects({ ports: { kernel, features } }: CommandContext, spec: PodSpec): Finding[] {
  const place = hostPlace(kernel.host())
  const { bridge: wanted, config } = spec
  const bridge = wanted && place.netns.link({ name: wanted.name })
  const carrier = wanted && place.netns.link({ name: gatewayLinkName(wanted) })
  const ofBridge = wanted ? networkObjects(wanted, planPod(spec), place, { bridge, carrier }) : []
  // The check of MACs has objects for each pod: what is missing of them is seen with the pod.
  const shared = { ...spec, config: { ...config, macspoofchk: false } }
  const ofTable = features.flatMap((feature) => feature.nodeObjects?.(shared) ?? [])
  return [
    ...repairable('bridge', difference(ofBridge, observe(kernel, ofBridge))),
    ...repairable('nftables', difference(ofTable, observe(kernel, ofTable))),
  ]
}

/** There are pods, so `bowline repair` looks at the same objects. */
function repairable(check: string, [first, ...more]: readonly Difference[]): Finding[] {
  if (!first) return []
  const message = more.length > 0 ? `${first.what} (and ${more.length} more)` : first.what
  return [error(check, message, 'bowline repair --yes')]
}

/** Host ends of routed pods, each of which has a switch of its own. */
function notForwarding(host: Netns, { bridge, ips }: PodSpec, links: readonly Link[]): Finding[] {
  if (bridge || !ips.some(({ cidr }) => cidr.address.family === 4)) return []
  const off = links.filter(({ name }) => host.readSysctl(`ipv4/conf/${name}/forwarding`) === '0')
  if (off.length === 0 || host.readSysctl('ipv4/ip_forward') !== '1') return []
  const settings = off.map(({ name }) => `net.ipv4.conf.${name}.forwarding=1`)
  return [
    error(
      'forwarding',
      `the node does not forward what comes from ${named(off)}`,
      `sysctl -w ${settings.join(' ')}`,
    ),
  ]
}

/** Pods that send larger packets than the node's way out takes: they are older than a change of its MTU. */
function wideLinks(
  files: CommandContext['files'],
  host: Netns,
  spec: PodSpec,
  live: readonly AttachmentView[],
  entry: Link | undefined,
): Finding[] {
  const mtu = uplinkMtu(host, spec)
  const wide = mtu === undefined ? [] : live.filter(({ link }) => link && link.mtu > mtu)
  if (wide.length === 0) return []
  const commands = wide.flatMap(({ record: { netns, ifName }, link }) => [
    ...(netns ? [`nsenter --net=${netns.path} ip link set dev ${ifName} mtu ${mtu}`] : []),
    `ip link set dev ${link?.name} mtu ${mtu}`,
  ])
  const bridge =
    spec.bridge && entry && entry.mtu > (mtu ?? 0) ? [`ip link set dev ${entry.name} mtu ${mtu}`] : []
  const pods = listed(wide.map(({ record }) => podName(files, record)))
  return [
    warning(
      'mtu',
      `pods of network ${spec.id.network} have a larger MTU than the way out, which carries ${mtu} bytes: ${pods}`,
      [...commands, ...bridge].join(' && '),
    ),
  ]
}

/** Leased addresses without a record: of pods that the reference plugins have made, or whose record was lost. */
function unrecorded(context: CommandContext, network: NetworkFile, view: NodeView): ReadonlySet<bigint> {
  const states = poolUsage(context, network, view).flatMap((pool) => [...pool.states])
  return new Set(states.flatMap(([value, state]) => (state === 'unrecorded' ? [value] : [])))
}

/** Routes of others that lead into a range: to the pod that gets such an address, packets take them. No pod gets one that is leased. */
function overlaps(
  host: Netns,
  { ips, id }: PodSpec,
  own: readonly Link[],
  leased: ReadonlySet<bigint>,
): Finding[] {
  const subnets = ips.map(({ cidr }) => cidr)
  const families = [...new Set(subnets.map(({ address }): Family => address.family))]
  const isOwn = (index: number | undefined): boolean => own.some((link) => link.index === index)
  return families.flatMap((family) =>
    host.fibEntries(family).flatMap(({ type, dst, hops: [hop] }): Finding[] => {
      const subnet = dst && subnets.find((one) => one.prefix <= dst.prefix && contains(one, dst.address))
      if (!dst || !subnet || type !== 'unicast' || isOwn(hop?.linkIndex)) return []
      const start = networkOf(subnet).address.value
      // The first address is no pod's: the node itself has it, where other nodes send packets to its pods.
      const isOfNobody = dst.address.value === start || leased.has(dst.address.value)
      if (dst.prefix === bitsOf(family) && isOfNobody) return []
      const name = hop && host.link({ index: hop.linkIndex })?.name
      const route = formatCidr(dst) + (hop?.gateway ? ` via ${formatAddress(hop.gateway)}` : '')
      return [
        error(
          'overlap',
          `the route ${route} by ${name} leads into ${formatCidr(networkOf(subnet))}, the range of network ${id.network}`,
          `ip route del ${route} dev ${name}`,
        ),
      ]
    }),
  )
}

/** Returns the names of a few links, and how many more there are. */
export function named(links: readonly Link[]): string {
  return listed(links.map(({ name }) => name))
}

function listed(names: readonly string[]): string {
  const more = names.length - 3
  return names.slice(0, 3).join(', ') + (more > 0 ? ` and ${more} more` : '')
}

/** Runs a check. One that cannot be made is a finding itself. */
export function checked(check: string, work: () => Finding[]): Finding[] {
  try {
    return work()
  } catch (fault) {
    if (!(fault instanceof Fault)) throw fault
    return [error(check, fault.message, fault.hint ?? 'bowline doctor --json')]
  }
}
