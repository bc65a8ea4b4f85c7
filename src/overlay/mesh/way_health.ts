import type { WayState } from './cell.ts'

/** What has been measured of one way to one node. */
export type WayHealth = {
  sent: number
  lost: number
  /** The last 16 probes, the newest in bit 0: 1 is lost. */
  history: number
  /** How many of them there have been, at most 16. */
  known: number
  /** Losses since the last answer. */
  streak: number
  /** The last request came back as `port unreachable`: the node is up, and no agent listens. */
  isRefused: boolean
  /** Smoothed, in microseconds. */
  rttUs: number | undefined
  /** When the last answer came, by the clock of the caller. */
  lastSeenMs: number | undefined
  readonly size: SizeSearch
}

/** The search for the largest packet that arrives: sizes of whole IP packets, in bytes. */
export type SizeSearch = {
  /** The size that has to arrive: the MTU of the way as this node has it. */
  full: number
  /** The largest that has arrived, 0 before the first. */
  passes: number
  /** The smallest that has not. */
  fails: number | undefined
  failures: number
}

const HISTORY = 16
/** So many losses in a row, and a way is silent: one or two may be an accident, or an agent that is replaced. */
const SILENT_AFTER = 3
/** Of the last 16. */
const LOSSY_FROM = 3
/** One lost packet says nothing of its size. */
const SMALL_AFTER = 2
/** The search ends here, in bytes. */
const PRECISION = 8
/** As TCP smooths it (RFC 6298). */
const WEIGHT = 1 / 8

export function newHealth(): WayHealth {
  return {
    sent: 0,
    lost: 0,
    history: 0,
    known: 0,
    streak: 0,
    isRefused: false,
    rttUs: undefined,
    lastSeenMs: undefined,
    size: { full: 0, passes: 0, fails: undefined, failures: 0 },
  }
}

export function recordAnswer(health: WayHealth, rttUs: number, nowMs: number): void {
  // An outage that is over, or an agent that had not been there yet, is no loss of packets.
  if (health.streak >= SILENT_AFTER || health.lastSeenMs === undefined)
    Object.assign(health, { history: 0, known: 0 })
  push(health, 0)
  health.streak = 0
  health.isRefused = false
  // After silence the old value says nothing.
  const before = health.rttUs
  health.rttUs = before === undefined ? rttUs : before + (rttUs - before) * WEIGHT
  health.lastSeenMs = nowMs
}

export function recordLoss(health: WayHealth, isRefused: boolean): void {
  push(health, 1)
  health.lost++
  health.streak++
  health.isRefused = isRefused
  if (health.streak === SILENT_AFTER) health.rttUs = undefined
}

/** Returns the share of the last probes that got no answer, from 0 to 1. */
export function lossOf({ history, known }: WayHealth): number {
  if (known === 0) return 0
  return bitCount(history) / known
}

export function stateOf(health: WayHealth): WayState {
  const { known, isRefused, streak, size } = health
  if (known === 0) return 'unmeasured'
  if (streak >= SILENT_AFTER) return isRefused ? 'noAgent' : 'silent'
  if (streak === known) return 'unmeasured'
  if (isTooSmall(size)) return 'small'
  return bitCount(health.history) >= LOSSY_FROM ? 'lossy' : 'ok'
}

/** Decides whether another probe may tell an accident from an outage, or narrows the search for a size. */
export function isUndecided({ streak }: WayHealth): boolean {
  return streak > 0 && streak < SILENT_AFTER
}

export function isTooSmall({ fails, failures }: SizeSearch): boolean {
  return fails !== undefined && failures >= SMALL_AFTER
}

/** Decides whether the search has not found the size yet. */
export function isSearching({ fails, passes }: SizeSearch): boolean {
  return fails !== undefined && fails - passes > PRECISION
}

/** Returns the size to try next: the full one, or the middle of what is left. `least` is known to pass, since small probes do. */
export function nextSize(size: SizeSearch, full: number, least: number): number {
  if (size.full !== full) Object.assign(size, { full, passes: 0, fails: undefined, failures: 0 })
  size.passes = Math.max(size.passes, least)
  return isSearching(size) && size.fails !== undefined ? (size.passes + size.fails) >> 1 : full
}

export function recordSize(size: SizeSearch, bytes: number, hasArrived: boolean): void {
  if (hasArrived) {
    size.passes = Math.max(size.passes, bytes)
    // A way that has become wider, or a packet that was lost by accident.
    if (bytes >= (size.fails ?? bytes)) Object.assign(size, { fails: undefined, failures: 0 })
    return
  }
  size.failures++
  size.fails = Math.min(size.fails ?? bytes, bytes)
  // A way that has become narrower.
  if (size.fails <= size.passes) size.passes = 0
}

/** Takes the word of a router that drops larger packets. Its word may be a lie, so the size is tried all the same. */
export function recordHint(size: SizeSearch, mtu: number): void {
  if (mtu < size.passes || mtu >= size.full) return
  size.fails = mtu + 1
  size.failures = Math.max(size.failures, 1)
}

function push(health: WayHealth, bit: 0 | 1): void {
  health.sent++
  health.history = ((health.history << 1) | bit) & ((1 << HISTORY) - 1)
  health.known = Math.min(health.known + 1, HISTORY)
}

function bitCount(bits: number): number {
  let count = 0
  for (let rest = bits; rest > 0; rest &= rest - 1) count++
  return count
}
