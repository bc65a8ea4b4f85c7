import type { AttachmentRecord } from '../../../attachment/record.ts'
import { allFiles, isNewer, soundRecords } from '../../../attachment/store.ts'
import type { NetworkConfig } from '../../../cni/config.ts'
import { type Cidr, formatCidr } from '../../../core/address.ts'
import { formatHostPort, parseHostPort } from '../../../core/host_port.ts'
import type { AttachmentId } from '../../../core/names.ts'
import type { UndoStack } from '../../../core/undo.ts'
import { addElements, type NftCommand, removeElements } from '../../../kernel/nftables/objects.ts'
import type { Desired, OnLink, Place } from '../../../state/desired.ts'
import { type Difference, sysctlStep } from '../../../state/explain.ts'
import { createNft } from '../../../state/nft.ts'
import type { PodSpec } from '../../spec.ts'
import type { ConfigOf, NodePorts, PodFeature } from '../feature.ts'
import { assertNftables } from '../nftables.ts'
import { restoreEach } from '../restore.ts'
import { reclaim } from './claims.ts'
import { forgetFormer, forgetOfPod } from './connections.ts'
import { allEntries, type Entry, presentEntry } from './entries.ts'
import { frameObjects, hasFrame, hasSomeOfFrame, isFrameWhole, removeFrame } from './frame.ts'
import { hostPortsOf } from './host_port.ts'
import { disableLocalnet, enableLocalnet, isLocalnet, localnetKey, unlessLocalnet } from './localnet.ts'
import { isComment, isCommentOf } from './owners.ts'
import { ownerOf, podPortObjects, podPortsOf, possibleEntries } from './pod_ports.ts'

/** The lock under which ports are given and taken. */
const LOCK = 'host-ports'

/** Leads ports of the node to ports of the pod. */
export function hostPorts(node: NodePorts): PodFeature {
  return new HostPorts(node)
}

class HostPorts implements PodFeature {
  readonly #node: NodePorts

  constructor(node: NodePorts) {
    this.#node = node
  }

  remember(config: NetworkConfig, addresses: readonly Cidr[]): Partial<AttachmentRecord> {
    if (!config.runtimeConfig?.portMappings || addresses.length === 0) return {}
    const ports = hostPortsOf(config).map(formatHostPort)
    return ports.length > 0 ? { hostPorts: { ports, pods: addresses.map(formatCidr) } } : {}
  }

  recall(config: NetworkConfig, { hostPorts }: AttachmentRecord): NetworkConfig {
    if (!hostPorts) return config
    const portMappings = hostPorts.ports.map((text) => {
      const { hostIp, ...port } = parseHostPort(text)
      return { ...port, ...(hostIp && { hostIP: hostIp }) }
    })
    return { ...config, runtimeConfig: { ...config.runtimeConfig, portMappings } }
  }

  /** Before the pod has a link: a port that is taken is found out before anything else is made. */
  beforeLink(spec: PodSpec, undo: UndoStack): void {
    const { kernel, locks } = this.#node
    const wanted = podPortsOf(kernel, spec)
    if (!wanted) return
    locks.withFeature(LOCK, () => {
      const stale = reclaim(this.#node, spec.id, wanted.claims)
      const former = wanted.clients.flatMap((one) => presentEntry(kernel, one) ?? [])
      const isFirst = !hasFrame(kernel)
      if (isFirst) assertNftables(kernel, 'runtimeConfig.portMappings')
      undo.push(() => this.#removeUnused())
      undo.push(() => this.remove(spec.id, this.#recordOf(spec)))
      kernel.nftables.apply([
        ...(isFirst ? createNft(frameObjects()) : []),
        ...removals([...stale, ...former]),
        ...additions(unlessLocalnet(kernel.host(), wanted.entries)),
      ])
    })
  }

  /**
   * Where bridges ask the packet filter, what the pod sends to its own host port is translated within the bridge, and goes back by the
   * port that it came from (br_nf_pre_routing).
   */
  port(spec: PodSpec, on: OnLink): Desired[] {
    const isWanted = spec.config.runtimeConfig?.portMappings && podPortsOf(this.#node.kernel, spec)
    return isWanted ? [{ kind: 'link', ...on, port: { hairpin: true } }] : []
  }

  afterLink(spec: PodSpec): void {
    const { kernel } = this.#node
    const wanted = podPortsOf(kernel, spec)
    if (!wanted) return
    const host = kernel.host()
    if (wanted.isLocal && !isLocalnet(host, wanted.link)) enableLocalnet(host, wanted.link)
    forgetFormer(kernel, wanted.claims)
  }

  nodeObjects(spec: PodSpec): Desired[] {
    const wanted = podPortsOf(this.#node.kernel, spec)
    return wanted ? podPortObjects(wanted) : []
  }

  diagnose(spec: PodSpec, onHost: Place): Difference[] {
    const { link, isLocal } = podPortsOf(this.#node.kernel, spec) ?? {}
    if (!isLocal || link === undefined || isLocalnet(onHost.netns, link)) return []
    const what = `127.0.0.1 of the node does not lead to the pod: route_localnet is off on ${link}`
    return [{ what, steps: [sysctlStep(onHost, [localnetKey(link), '1'])] }]
  }

  /** Removes only elements that say that they are this attachment's. */
  remove(id: AttachmentId, record?: AttachmentRecord): void {
    const { kernel, locks } = this.#node
    if (record ? !record.hostPorts : !locks.wasFeatureLocked(LOCK)) return
    locks.withFeature(LOCK, () => {
      const present = record
        ? possibleEntries(record).flatMap((one) => presentEntry(kernel, one) ?? [])
        : allEntries(kernel)
      this.#take(present.filter(({ element }) => isCommentOf(id, element.comment)))
    })
    if (record?.hostPorts) forgetOfPod(kernel, record.hostPorts)
  }

  removeShared(): void {
    if (this.#node.locks.wasFeatureLocked(LOCK)) this.#removeUnused()
  }

  /** Only what is missing: a port that another pod has got since stays with that pod. */
  restore(configOf: ConfigOf): readonly string[] {
    const { kernel, locks } = this.#node
    if (!locks.wasFeatureLocked(LOCK)) return []
    return restoreEach(this.#node, (record) => {
      const { hostPorts, containerId } = record
      if (!hostPorts) return undefined
      const look = () => ({ isWhole: isFrameWhole(kernel), losses: this.#lossesOf(record, configOf) })
      const seen = look()
      if (seen.isWhole && seen.losses.length === 0) return undefined
      const mend = () => {
        const left = look()
        kernel.nftables.apply([...(left.isWhole ? [] : createNft(frameObjects())), ...additions(left.losses)])
      }
      return {
        words: [`host ports ${hostPorts.ports.join(' ')} of ${containerId}`],
        mend: () => locks.withFeature(LOCK, mend),
      }
    })
  }

  #lossesOf(record: AttachmentRecord, configOf: ConfigOf): readonly Entry[] {
    const { kernel } = this.#node
    const config = configOf(record.network)
    const wanted = config && podPortsOf(kernel, ownerOf(record, this.recall(config, record)))
    const all = wanted?.entries ?? []
    if (all.length > 0 && !hasFrame(kernel)) return all
    const missing = all.filter(({ set, element }) => !kernel.nftables.element(set, element.key))
    return unlessLocalnet(kernel.host(), missing)
  }

  /** An element is an orphan if no record of any network is its owner's. An ADD writes its record first. */
  removeOrphans(): void {
    const { kernel, locks, store } = this.#node
    if (!locks.wasFeatureLocked(LOCK)) return
    locks.withFeature(LOCK, () => {
      const all = allEntries(kernel)
      const files = all.length > 0 ? allFiles(store) : []
      // A record of a later release cannot be read, so an element may be of its pod.
      if (files.some(isNewer)) return
      const records = soundRecords(files)
      const isOwned = ({ element: { comment } }: Entry) => records.some((one) => isCommentOf(one, comment))
      this.#take(all.filter((one) => isComment(one.element.comment) && !isOwned(one)))
    })
    this.#removeUnused()
  }

  /** Removes what all host ports share, unless a pod has one. */
  #removeUnused(): void {
    const { kernel, locks } = this.#node
    locks.withFeature(LOCK, () => {
      if (!hasSomeOfFrame(kernel)) return
      const all = allEntries(kernel)
      if (all.some(({ element: { comment } }) => isComment(comment))) return
      disableLocalnet(kernel.host(), all)
      removeFrame(kernel)
    })
  }

  #take(entries: readonly Entry[]): void {
    const { kernel } = this.#node
    disableLocalnet(kernel.host(), entries)
    kernel.nftables.apply(removals(entries))
  }

  /** Returns what of the record a removal needs. */
  #recordOf({ id, config, ips, hostIfName, mode }: PodSpec): AttachmentRecord {
    const cidrs = ips.map(({ cidr }) => cidr)
    const chained = { ifIndex: 0, joined: false, addresses: [] }
    const made = { ...this.remember(config, cidrs), hostIfName, ...(mode === 'chained' && { chained }) }
    return { ...id, version: 1, bootId: '', complete: false, ...made }
  }
}

/** Each set in one command. */
function additions(entries: readonly Entry[]): NftCommand[] {
  return bySet(entries, addElements)
}

function removals(entries: readonly Entry[]): NftCommand[] {
  return bySet(entries, (set, ...elements) => removeElements(set, ...elements.map(({ key }) => ({ key }))))
}

function bySet(
  entries: readonly Entry[],
  command: (set: Entry['set'], ...elements: Entry['element'][]) => NftCommand,
): NftCommand[] {
  const groups = Map.groupBy(entries, ({ set }) => set)
  return [...groups].map(([set, group]) => command(set, ...group.map(({ element }) => element)))
}
