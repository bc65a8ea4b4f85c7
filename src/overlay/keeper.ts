import { sameAddress } from '../core/address.ts'
import { ignoreErrnos } from '../core/errors.ts'
import type { Mac } from '../core/mac.ts'
import type { Kernel, LinkRef, Netns } from '../kernel/kernel.ts'
import type { KernelEvent } from '../kernel/netlink/events.ts'
import type { NftEvent } from '../kernel/nftables/events.ts'
import { hostPlace } from '../state/desired.ts'
import type { LocalNode } from './backend.ts'
import type { ClusterNode, UnderlayLink } from './cluster.ts'
import type { OverlayConfig } from './config.ts'
import { diversionsOf } from './diversions.ts'
import { createDriftFilter, type DriftFilter } from './drift.ts'
import { nextPlan, type OverlayPlan, type PeerProblem, planOverlay } from './plan.ts'
import {
  type Mode,
  type Present,
  presentOf,
  proceed,
  type Reconciled,
  readUnderlay,
  reconcileOverlay,
} from './reconcile.ts'
import { OVERLAY_LINKS } from './registry.ts'

/** What the kernel has reported; `lost`: more than fitted into the buffer. */
export type KernelNews = readonly (KernelEvent | NftEvent)[] | 'lost'

/** What there is to know of the cluster. */
export type Knowledge = {
  readonly cluster: readonly ClusterNode[]
  readonly own: ClusterNode
  readonly config: OverlayConfig
  readonly mode: Mode
}

/**
 * Keeps the overlay of a node. It remembers the plan that is in force: a run after a change of the cluster alone costs what the change
 * does, however large the cluster is. Any other run compares everything that the kernel has.
 */
export type Keeper = {
  /** Tells whether the next run may rely on the plan before. */
  readonly isTrusting: boolean
  /** Takes events of the kernel. Returns true if they contradict the plan. */
  hear(news: KernelNews): boolean
  /** Lets the next run compare everything. */
  distrust(): void
  run(knowledge: Knowledge): {
    readonly plan: OverlayPlan
    readonly outcome: Reconciled
    /** What is not reached because of routes of others, as it was when everything was compared last. */
    readonly diversions: readonly PeerProblem[]
  }
}

const NOTHING: Reconciled = { found: [], changes: [], failures: [], isWhole: true }

export function createKeeper(kernel: Pick<Kernel, 'host' | 'nftables' | 'traffic'>): Keeper {
  const place = hostPlace(kernel.host())
  let node: LocalNode | undefined
  let plan: OverlayPlan | undefined
  let filter: DriftFilter | undefined
  /** The plan that is in force. */
  let trusted: OverlayPlan | undefined
  let diversions: readonly PeerProblem[] = []
  const strays = createStrays(place.netns)
  const inherited = createInheritance()
  /** What a comparison of everything has asked that found nothing: as long as the answers are the same, it would find nothing again. */
  let clean: { readonly plan: OverlayPlan; isSame(): boolean } | undefined

  const compareAll = (knowledge: Knowledge) => {
    const { own, config, cluster, mode } = knowledge
    const underlay = readUnderlay(place.netns)
    const isSame = node && isNode(node, knowledge) && isSameUnderlay(node.underlay, underlay)
    node = isSame && node ? node : { ...own, place, config, underlay }
    const step = plan?.node === node ? nextPlan(plan, cluster) : undefined
    const next = step?.plan ?? planOverlay(cluster, node)
    plan = next
    if (clean?.plan === next && clean.isSame()) return { plan: next, outcome: NOTHING }
    const outcome = compareAndRemember(next, mode)
    // Not among what is remembered: another look at all routes with each audit would double its cost.
    diversions = diversionsOf(next)
    if (step && filter && outcome.found.length === 0) filter.proceed(step)
    else filter = createDriftFilter(next)
    return { plan: next, outcome }
  }
  const compareAndRemember = (next: OverlayPlan, mode: Mode): Reconciled => {
    const run = () => reconcileOverlay(kernel, next, mode, inherited(next, mode))
    const { outcome, isSame } = remembered(kernel, place.netns, run)
    const isClean = mode === 'whole' && outcome.found.length + outcome.failures.length === 0
    clean = isClean ? { plan: next, isSame } : undefined
    return outcome
  }
  const follow = (before: OverlayPlan, { cluster }: Knowledge) => {
    const step = nextPlan(before, cluster)
    plan = step.plan
    if (step.plan !== before) clean = undefined
    const outcome = proceed(kernel, before, step)
    if (outcome.isWhole || !filter) filter = createDriftFilter(step.plan)
    else filter.proceed(step)
    return { plan: step.plan, outcome }
  }
  return {
    get isTrusting() {
      return trusted !== undefined
    },
    hear(news) {
      if (news !== 'lost') strays.hear(news)
      const isContradiction = news === 'lost' || !filter || news.some((event) => filter?.concerns(event))
      if (!isContradiction) return false
      trusted = undefined
      clean = undefined
      return true
    },
    distrust() {
      trusted = undefined
    },
    run(knowledge) {
      const before = trusted
      trusted = undefined
      strays.remove()
      const run = before && isNode(before.node, knowledge) ? follow(before, knowledge) : compareAll(knowledge)
      if (knowledge.mode === 'whole' && run.outcome.failures.length === 0) trusted = run.plan
      return { ...run, diversions: diversions.filter((one) => run.plan.peers.has(one.node)) }
    },
  }
}

/** Runs a comparison. `isSame`: what it has asked has the same answers still. */
function remembered(
  { nftables }: Pick<Kernel, 'nftables'>,
  netns: Netns,
  run: () => Reconciled,
): { readonly outcome: Reconciled; isSame(): boolean } {
  const links = netns.remember(() => nftables.remember(run))
  const { value: outcome, isSame } = links.value
  return { outcome, isSame: () => links.isSame() && isSame() }
}

/**
 * Links of the overlay that somebody has moved to another namespace: their tunnel stays in this one, and the kernel refuses another link
 * with its number and port (EEXIST) as long as they are there. `remove` looks first whether each is still what was moved.
 */
function createStrays(netns: Netns): { hear(news: Exclude<KernelNews, 'lost'>): void; remove(): void } {
  let moved: { readonly mac: Mac; readonly link: LinkRef }[] = []
  return {
    hear(news) {
      for (const event of news) {
        if (event.subject !== 'link' || !event.movedTo || !OVERLAY_LINKS.includes(event.link.name)) continue
        moved.push({ mac: event.link.mac, link: event.movedTo })
      }
    },
    remove() {
      const found = moved
      moved = []
      for (const { mac, link } of found) {
        // The other namespace may be gone meanwhile. What cannot be removed makes the new link fail, which is told.
        ignoreErrnos(['ENODEV', 'EINVAL', 'EPERM', 'EOPNOTSUPP'], () => {
          if (netns.link(link)?.mac === mac) netns.apply([{ op: 'removeLink', link }])
        })
      }
    },
  }
}

/**
 * Returns a function that tells what the first run has found, which stays until the cluster is known for certain: the agent before may have
 * known more of it.
 */
function createInheritance(): (plan: OverlayPlan, mode: Mode) => Present | undefined {
  let found: Present | undefined
  return (plan, mode) => {
    found = mode === 'whole' ? undefined : (found ?? presentOf(plan))
    return found
  }
}

/** What is known of the node itself, but for its links. Only a whole run knows of a change there. */
function isNode(node: LocalNode, { own, config }: Knowledge): boolean {
  const isSameList = <T>(a: readonly T[], b: readonly T[]) =>
    a.length === b.length && a.every((one, i) => one === b[i])
  return (
    node.config === config &&
    node.name === own.name &&
    isSameList(node.addresses, own.addresses) &&
    isSameList(node.podCidrs, own.podCidrs)
  )
}

function isSameUnderlay(a: readonly UnderlayLink[], b: readonly UnderlayLink[]): boolean {
  return (
    a.length === b.length &&
    a.every((one, i) => {
      const other = b[i]
      return (
        other?.index === one.index &&
        other.name === one.name &&
        other.mtu === one.mtu &&
        other.addresses.length === one.addresses.length &&
        other.addresses.every((cidr, at) => {
          const same = one.addresses[at]
          return same?.prefix === cidr.prefix && sameAddress(same.address, cidr.address)
        })
      )
    })
  )
}
