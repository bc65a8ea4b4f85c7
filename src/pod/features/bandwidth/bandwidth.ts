import { aliasOf, isAliasOfNetwork, isOwnAlias } from '../../../attachment/alias.ts'
import { removeLink } from '../../../attachment/detach.ts'
import type { AttachmentRecord } from '../../../attachment/record.ts'
import { throwCollected } from '../../../attachment/teardown.ts'
import type { NetworkConfig } from '../../../cni/config.ts'
import { formatCidr, parseCidr } from '../../../core/address.ts'
import { collectFaults, Fault, isErrno, toFault } from '../../../core/errors.ts'
import { type AttachmentId, deriveNames } from '../../../core/names.ts'
import type { UndoStack } from '../../../core/undo.ts'
import type { Kernel, Link, Netns } from '../../../kernel/kernel.ts'
import { createChanges } from '../../../state/create.ts'
import { type Desired, type DesiredPacketFilter, hostPlace, type Place } from '../../../state/desired.ts'
import type { PodSpec } from '../../spec.ts'
import type { NodePorts, PodFeature } from '../feature.ts'
import { DIRECTIONS, type Direction, type Limits, limitsOf, tbfOf } from './limits.ts'

/*
 * HOW A POD IS HELD TO A RATE. What a link sends waits in its queueing discipline (tbf); nothing can make a sender wait where
 * its packets come in. So what the pod sends is redirected to an ifb link, which puts it through its own discipline and back
 * on its way:
 *   to the pod     tbf on the host's end
 *   from the pod   a filter at the host's end: ingress -> bwe…, with tbf on bwe…
 * With subnets only a part of the traffic is limited: what the pod receives takes a way like that as well, by a link bwi….
 * All of it is on the host's side, where no pod reaches it. A limit at the way in without an ifb (nft `limit`) is cheaper by
 * about a fifth of what one processor can forward, and no limit: TCP gets 1.2 to 1.6 of 1 Mbit/s, and 1.25 of 1 Gbit/s.
 */
const IFB_NAME = /^bw[ie]([0-9a-f]{12})$/
const IFB_KEY = 12

/** Holds what a pod receives and sends to the rates that its config or its runtime names. */
export function bandwidth({ kernel, store, locks }: NodePorts): PodFeature {
  const keysOf = (network: string) => store.readFiles(network).map(({ key }) => key.slice(0, IFB_KEY))
  return {
    remember: (config) => rememberedLimits(config),
    recall: (config, { bandwidth: known }) => (known ? { ...config, ...readLimits(known) } : config),
    hostLinks: (spec) => {
      const limits = limitsOf(spec.config)
      return limits ? ifbsOf(spec.id, limits).map(({ name }) => ({ name })) : []
    },
    afterLink(spec, undo) {
      const limits = limitsOf(spec.config)
      if (!limits) return
      try {
        ensureLimits(kernel, spec, limits, undo)
      } catch (error) {
        const options = { hint: hintFor(error, spec.hostIfName), cause: error }
        throw new Fault(`limit the bandwidth of the pod: ${toFault(error).message}`, options)
      }
    },
    nodeObjects(spec) {
      const limits = limitsOf(spec.config)
      const place = hostPlace(kernel.host())
      const end = limits && place.netns.link({ name: spec.hostIfName })
      return limits && end ? limitObjects(spec.id, limits, place, end) : []
    },
    /** The disciplines and filters have gone with the host's end, unless that is another plugin's. */
    remove(id, record) {
      if (record && !record.bandwidth) return
      if (record?.chained) removeFromPort(kernel.host(), id, record, record.chained.ifIndex)
      for (const direction of DIRECTIONS) removeIfb(kernel.host(), id, ifbName(id, direction))
    },
    removeOrphans(network, valid) {
      const validKeys = valid.map((one) => deriveNames(one).key.slice(0, IFB_KEY))
      const host = kernel.host()
      const orphans = host.links().flatMap(({ kind, name, alias, index }) => {
        const key = IFB_NAME.exec(name)?.[1]
        const isOurs = kind === 'ifb' && key !== undefined && isAliasOfNetwork(alias, network)
        return isOurs && !validKeys.includes(key) ? [{ key, index }] : []
      })
      const faults = collectFaults(
        orphans.map(({ key, index }) => () => {
          // The lock of an attachment is named by the beginning of its key.
          locks.whenIdle(key, () => {
            if (!keysOf(network).includes(key)) removeLink(host, { index })
          })
        }),
      )
      throwCollected(faults, `bandwidth limits of network ${network}`, 'GC')
    },
  }
}

/** Three round trips: the first link is made, the host's end is asked for, and all the rest goes in one batch. */
function ensureLimits(kernel: Kernel, spec: PodSpec, limits: Limits, undo: UndoStack): void {
  const host = kernel.host()
  const indexes = new Map<string, number>()
  for (const { name } of ifbsOf(spec.id, limits)) {
    undo.push(() => removeIfb(host, spec.id, name))
    indexes.set(name, host.applyAndRead([{ op: 'createIfb', name }], { name }).index)
  }
  const end = host.applyAndRead([], { name: spec.hostIfName })
  indexes.set(end.name, end.index)
  const objects = limitObjects(spec.id, limits, hostPlace(host), end)
  if (!isOwnAlias(end.alias)) undo.push(clearing(host, end))
  host.apply(createChanges(objects, (name) => indexes.get(name) ?? 0))
}

function hintFor(error: unknown, link: string): string {
  return isErrno(error, 'EEXIST')
    ? `Look at "tc qdisc show dev ${link}" and "ip link show type ifb": remove what another program has made, or the rates here.`
    : 'The kernel must have the modules sch_tbf, sch_ingress, cls_u32, act_mirred and ifb: load them with modprobe.'
}

/** Returns what removes from another plugin's link the disciplines that it does not have now. */
function clearing(host: Netns, { index: linkIndex }: Link): () => void {
  const before = host.qdiscs(linkIndex).map(({ kind }) => kind)
  return () => {
    const made = host.qdiscs(linkIndex).filter(({ kind }) => !before.includes(kind))
    host.apply(made.map((qdisc) => ({ op: 'removeQdisc', linkIndex, qdisc })))
  }
}

/** Returns all that limits a pod whose host end is `end`. A link comes before what is on it, and before what leads to it. */
function limitObjects(id: AttachmentId, limits: Limits, place: Place, end: Link): Desired[] {
  const onEnd = { place, link: end.name }
  const ifbs = ifbsOf(id, limits)
  const toPod = limits.ingress
  const filters = ifbs.flatMap(({ name, direction }) => filtersTo(name, direction, limits))
  return [
    ...ifbs.flatMap(({ name, limit }): Desired[] => [
      { kind: 'link', place, link: name, create: { type: 'ifb', alias: aliasOf(id) }, up: true },
      { kind: 'qdisc', place, link: name, qdisc: tbfOf(limit, end.mtu) },
    ]),
    ...(toPod && !ifbs.some(({ direction }) => direction === 'ingress')
      ? [{ kind: 'qdisc', ...onEnd, qdisc: tbfOf(toPod, end.mtu) } as const]
      : []),
    ...(ifbs.length > 0 ? [{ kind: 'qdisc', ...onEnd, qdisc: { kind: 'clsact' } } as const] : []),
    ...filters.map(
      (filter, i) => ({ kind: 'packetFilter', ...onEnd, filter: { ...filter, order: i + 1 } }) as const,
    ),
  ]
}

/** What the pod receives, the host's end sends. */
function filtersTo(
  ifb: string,
  direction: Direction,
  { shaped, unshaped }: Limits,
): Omit<DesiredPacketFilter['filter'], 'order'>[] {
  const ofEnd = direction === 'ingress' ? 'egress' : 'ingress'
  const peer = direction === 'ingress' ? 'source' : 'destination'
  const match = (cidr: Limits['shaped'][number]) => ({ match: { end: peer, cidr } }) as const
  const redirect = { redirect: ifb }
  const decisions =
    shaped.length > 0
      ? shaped.map((cidr) => ({ ...match(cidr), ...redirect }))
      : [...unshaped.map(match), redirect]
  return decisions.map((decision) => ({ direction: ofEnd, ...decision }))
}

/** Returns the links that a pod's traffic is redirected to. */
function ifbsOf(id: AttachmentId, limits: Limits) {
  const isPartial = limits.shaped.length + limits.unshaped.length > 0
  return DIRECTIONS.flatMap((direction) => {
    const limit = limits[direction]
    return limit && (direction === 'egress' || isPartial)
      ? [{ name: ifbName(id, direction), direction, limit }]
      : []
  })
}

function ifbName(id: AttachmentId, direction: Direction): string {
  return `bw${direction[0]}${deriveNames(id).key.slice(0, IFB_KEY)}`
}

/** An ADD that was killed may have made nothing yet: what does not show that it is ours is somebody else's. */
function removeFromPort(host: Netns, id: AttachmentId, record: AttachmentRecord, linkIndex: number): void {
  const limits = limitsOf({ name: id.network, cniVersion: '1.1.0', ...readLimits(record.bandwidth ?? {}) })
  const port = host.link({ index: linkIndex })
  if (!limits || !port || port.name !== record.hostIfName || isOwnAlias(port.alias)) return
  const ifbs = ifbsOf(id, limits).flatMap(({ name }) => host.link({ name })?.index ?? [])
  const leadsToIfb = host
    .packetFilters(linkIndex)
    .some(({ redirect }) => redirect !== undefined && ifbs.includes(redirect))
  const rate = limits.ingress && tbfOf(limits.ingress, port.mtu).rate
  const own = host.qdiscs(linkIndex).filter((one) => (one.kind === 'tbf' ? one.rate === rate : leadsToIfb))
  host.apply(own.map((qdisc) => ({ op: 'removeQdisc', linkIndex, qdisc })))
}

/** An ADD that was killed may have left it without its alias. */
function removeIfb(host: Netns, id: AttachmentId, name: string): void {
  const link = host.link({ name })
  const isOurs = link?.kind === 'ifb' && (link.alias === aliasOf(id) || !isOwnAlias(link.alias))
  if (isOurs) removeLink(host, { index: link.index })
}

/** Returns the limits as the record keeps them: with the keys of the config. */
function rememberedLimits(config: NetworkConfig): Partial<AttachmentRecord> {
  const limits = limitsOf(config)
  if (!limits) return {}
  const { ingress, egress, shaped, unshaped } = limits
  return {
    bandwidth: {
      ...(ingress && { ingressRate: ingress.rate, ingressBurst: ingress.burst }),
      ...(egress && { egressRate: egress.rate, egressBurst: egress.burst }),
      ...(shaped.length > 0 && { shapedSubnets: shaped.map(formatCidr) }),
      ...(unshaped.length > 0 && { unshapedSubnets: unshaped.map(formatCidr) }),
    },
  }
}

function readLimits({
  shapedSubnets = [],
  unshapedSubnets = [],
  ...rates
}: NonNullable<AttachmentRecord['bandwidth']>): Partial<NetworkConfig> {
  return {
    ...rates,
    ...(shapedSubnets.length > 0 && { shapedSubnets: shapedSubnets.map(parseCidr) }),
    ...(unshapedSubnets.length > 0 && { unshapedSubnets: unshapedSubnets.map(parseCidr) }),
  }
}
