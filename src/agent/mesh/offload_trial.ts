import {
  isOpen,
  type OffloadVerdict,
  TRIAL_PACKETS,
  type Trial,
  type TrialRound,
  verdictOf,
} from '../../overlay/mesh/offload.ts'
import type { NodeId } from '../../overlay/mesh/packet.ts'
import type { Exchange, Probe } from './exchange.ts'

/** Sends packets with and without a checksum to a peer, and judges by the answers. */
export async function runTrial(
  { way, answerWay }: Trial,
  receiver: NodeId,
  exchange: Exchange,
  signal: AbortSignal,
): Promise<OffloadVerdict> {
  const probe: Probe = { way: way.index, destination: way.way.destination, answerWay }
  const probes = Array.from({ length: TRIAL_PACKETS }, () => [probe, { ...probe, isFilled: true }]).flat()
  const rounds: TrialRound[] = []
  while (isOpen(rounds) && !signal.aborted) {
    const outcomes = await exchange.run(receiver, probes, signal)
    const answered = outcomes.filter(({ rttUs }) => rttUs !== undefined)
    const filled = answered.filter(({ isFilled }) => isFilled).length
    rounds.push({ filled, left: answered.length - filled })
  }
  // What has not been answered by then says nothing.
  return signal.aborted ? 'unknown' : verdictOf(rounds)
}
