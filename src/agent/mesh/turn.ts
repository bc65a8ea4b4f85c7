import { PROBE_BYTES, WAYS } from '../../overlay/mesh/packet.ts'
import {
  isSearching,
  isUndecided,
  nextSize,
  recordAnswer,
  recordHint,
  recordLoss,
  recordSize,
  stateOf,
} from '../../overlay/mesh/way_health.ts'
import { HEADER_BYTES, type Outcome, type Probe } from './exchange.ts'
import type { Peer } from './peer.ts'

/*
 * One turn of a peer: a small probe by each way of one family, and a full-size one by each way that is due for it. The families take turns,
 * as few outages concern one alone; a way that is not as it should be has every turn. What is not answered is asked again within the turn,
 * so that an outage is told from an accident in seconds, however long the peer's next turn is away.
 */

/** A way that carried full packets does so for a while. */
const TURNS_BETWEEN_SIZES = 6
export const MAX_ATTEMPTS = 3

/** Returns the probes of the first attempt. */
export function firstProbes(peer: Peer): Probe[] {
  const isDue = (peer.turns >> 1) % TURNS_BETWEEN_SIZES === 0
  const measured = peer.measured()
  const families = new Set(measured.map(({ index }) => WAYS[index]?.family))
  const family = families.size > 1 ? (peer.turns % 2 === 0 ? 4 : 6) : undefined
  return measured.flatMap(({ way: { destination, mtu }, health, index }): Probe[] => {
    if (family && WAYS[index]?.family !== family && stateOf(health) === 'ok') return []
    const small = { way: index, destination }
    const least = PROBE_BYTES + HEADER_BYTES[destination.family]
    const { size } = health
    // A way that gives no answer at all says nothing of sizes.
    const wantsSize = isDue || size.full !== mtu || size.fails !== undefined || size.passes < mtu
    if (!wantsSize || ['silent', 'noAgent'].includes(stateOf(health))) return [small]
    return [small, { ...small, size: nextSize(size, mtu, least) }]
  })
}

/** Takes what became of the probes of an attempt, and returns those of the next one: none if all is known. */
export function record(peer: Peer, outcomes: readonly Outcome[], nowMs: number): Probe[] {
  for (const { way, size, rttUs, refusal } of outcomes) {
    if (size !== undefined) continue
    const health = peer.healthOf(way)
    if (rttUs === undefined) recordLoss(health, refusal?.reason === 'closed')
    else recordAnswer(health, rttUs, nowMs)
  }
  return outcomes.flatMap((outcome): Probe[] => {
    const { way, destination, size } = outcome
    const health = peer.healthOf(way)
    if (size === undefined) return isUndecided(health) ? [{ way, destination }] : []
    // Lost with the small one: not for its size.
    if (health.streak > 0) return []
    recordSize(health.size, size, outcome.rttUs !== undefined)
    if (outcome.refusal?.reason === 'tooBig') recordHint(health.size, outcome.refusal.mtu)
    const { full } = health.size
    return isSearching(health.size) ? [{ way, destination, size: nextSize(health.size, full, 0) }] : []
  })
}
