import {
  isOpen,
  type OffloadVerdict,
  TRIAL_PACKETS,
  type Trial,
  type TrialRound,
  verdictOf,
} from '../../overlay/mesh/offload.ts'
import { recordAnswer } from '../../overlay/mesh/way_health.ts'
import type { Exchange, Probe } from './exchange.ts'
import type { Peer } from './peer.ts'

/**
 * Sends packets with and without a checksum to a peer, and judges by the answers; beside them an ordinary probe. Returns undefined if that is
 * answered: the way is silent no longer.
 */
export async function runTrial(
  { way, answerWay }: Trial,
  peer: Peer,
  exchange: Exchange,
  nowMs: () => number,
  signal: AbortSignal,
): Promise<OffloadVerdict | undefined> {
  const ordinary: Probe = { way: way.index, destination: way.way.destination }
  const left: Probe = { ...ordinary, answerWay }
  const pairs = Array.from({ length: TRIAL_PACKETS }, () => [left, { ...left, isFilled: true }])
  const rounds: TrialRound[] = []
  while (isOpen(rounds)) {
    const outcomes = await exchange.run(peer.id, [ordinary, ...pairs.flat()], signal)
    // What has not been answered by then says nothing.
    if (signal.aborted) return undefined
    const answered = outcomes.filter(({ rttUs }) => rttUs !== undefined)
    const again = answered.find((one) => one.answerWay === undefined)
    if (again?.rttUs !== undefined) {
      recordAnswer(way.health, again.rttUs, nowMs())
      return undefined
    }
    const filled = answered.filter(({ isFilled }) => isFilled).length
    rounds.push({ filled, left: answered.length - filled })
  }
  return verdictOf(rounds)
}
