import type { Address } from '../../core/address.ts'
import { addressOf } from '../../overlay/backend.ts'
import { sliceOf } from '../../overlay/mesh/matrix.ts'
import { encodeAnswer, MAX_ENTRIES, type Request, type RowEntry, WAYS } from '../../overlay/mesh/packet.ts'
import { meshAddressOf } from '../../overlay/mesh/ways.ts'
import type { MeshState } from './mesh_state.ts'
import type { Peer } from './peer.ts'

/** A peer sends some packets a turn; whoever claims to be one gets no more answers than this a second. */
const MAX_ANSWERS_A_SECOND = 64

/** What a peer has had: answers in this second, and the parts of the own row up to this place. */
type Served = { second: number; count: number; place: number }

export type ReadyAnswer = { readonly bytes: Uint8Array; readonly to: Address }

/** Answers requests: to the address that the API server has for the sender, and not more often than a bound. */
export class Responder {
  readonly #state: MeshState
  readonly #served = new WeakMap<Peer, Served>()

  constructor(state: MeshState) {
    this.#state = state
  }

  /** Returns the answer; undefined to a request that deserves none. */
  answerTo(
    { nonce, way, answerWay = way, sender, receiver }: Request,
    nowMs: number,
  ): ReadyAnswer | undefined {
    const { ownId, peers } = this.#state
    const asker = receiver === ownId ? this.#state.peerWith(sender) : undefined
    const to = asker && addressFor(asker, answerWay)
    if (!asker || !to || !this.#mayAnswer(asker, nowMs)) return undefined
    const unreachable = this.#state.unreachable.size
    const entries = this.#nextEntries(asker)
    const head = { kind: 'answer', nonce, way, sender: ownId, receiver: asker.id } as const
    return { bytes: encodeAnswer({ ...head, peers: peers.size, unreachable, entries }), to }
  }

  #mayAnswer(asker: Peer, nowMs: number): boolean {
    const served = this.#servedTo(asker)
    const second = Math.floor(nowMs / 1000)
    if (served.second !== second) Object.assign(served, { second, count: 0 })
    return ++served.count <= MAX_ANSWERS_A_SECOND
  }

  #nextEntries(asker: Peer): RowEntry[] {
    if (!this.#state.matrix.isWhole) return []
    const served = this.#servedTo(asker)
    const all = [...this.#state.peers.values()]
    const part = sliceOf(all, served.place, MAX_ENTRIES)
    served.place = (served.place + MAX_ENTRIES) % Math.max(1, all.length)
    return part.map((peer) => peer.entry())
  }

  #servedTo(asker: Peer): Served {
    const served = this.#served.get(asker) ?? { second: 0, count: 0, place: 0 }
    this.#served.set(asker, served)
    return served
  }
}

function addressFor({ node }: Peer, way: number): Address | undefined {
  const { network, family } = WAYS[way] ?? WAYS[0]
  return network === 'underlay' ? addressOf(node, family) : meshAddressOf(node, family)
}
