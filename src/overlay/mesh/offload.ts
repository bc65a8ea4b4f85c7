import type { OverlayConfig } from '../config.ts'
import { WAYS } from './packet.ts'
import { stateOf } from './way_health.ts'
import type { Measured } from './ways.ts'

/*
 * Whether packets arrive whose checksum is left to the device that sends them. Some devices and hypervisors break what is encapsulated then
 * (VMware with NSX or vmxnet3, by the port): ping works, TCP and UDP between pods do not.
 *
 * The link is not changed for the trial. A datagram that a program sends in two parts (MSG_MORE) gets its checksum from the kernel whatever
 * the link says, and goes side by side with one of one part. The peer answers both by the addresses of nodes, so a node judges only what it
 * sends itself. So the decision needs no second look: what arrives with the offload turned off has arrived already.
 *
 * The version of the kernel is no sign. Before 5.6.13, 5.4.41, 4.19.123 and 4.14.181 a packet that was translated behind the tunnel got a
 * checksum in place of none; ours always have one (see backends/vxlan.ts). One with an offloaded checksum within keeps that when its port is
 * translated, on Linux 6.18 too, and is dropped by its receiver: a trial finds it like a broken device.
 */

/** By which way to send, and by which the answers come: indexes of WAYS. */
export type Trial = { readonly way: Measured; readonly answerWay: number }

/** How many packets of a round have been answered. `left`: of those whose checksum is left to the device. */
export type TrialRound = { readonly filled: number; readonly left: number }

/** `works`: what is left to the device arrives. `unknown`: nothing does, or not reliably. */
export type OffloadVerdict = 'works' | 'broken' | 'unknown'

/** Packets of each kind in a round. */
export const TRIAL_PACKETS = 3
/** A way that was silent before must show the same in each of them: loss by chance does not look so. */
export const TRIAL_ROUNDS = 2
/** Of the packets with a checksum: nearly all, or the way is bad whatever their checksum. */
const ENOUGH = 2

/** Returns the trial that may explain the silence of a way to a peer; undefined if there is none. */
export function trialOf(
  measured: readonly Measured[],
  { checksumOffload }: Pick<OverlayConfig, 'checksumOffload'>,
): Trial | undefined {
  if (checksumOffload === 'off') return undefined
  const way = measured.find(({ way: { path }, health }) => path === 'vxlan' && stateOf(health) === 'silent')
  const answering = measured.find(
    ({ index, health }) => WAYS[index]?.network === 'underlay' && stateOf(health) === 'ok',
  )
  return way && answering && { way, answerWay: answering.index }
}

/** Decides what the rounds so far show. It takes all of them to call an offload broken. */
export function verdictOf(rounds: readonly TrialRound[]): OffloadVerdict {
  if (rounds.some(({ left }) => left > 0)) return 'works'
  const isBroken = rounds.length >= TRIAL_ROUNDS && rounds.every(({ filled }) => filled >= ENOUGH)
  return isBroken ? 'broken' : 'unknown'
}

/** Decides whether another round may lead to a verdict. */
export function isOpen(rounds: readonly TrialRound[]): boolean {
  return rounds.length < TRIAL_ROUNDS && rounds.every(({ filled, left }) => left === 0 && filled >= ENOUGH)
}
