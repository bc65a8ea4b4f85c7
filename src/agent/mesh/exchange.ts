import type { Address } from '../../core/address.ts'
import type { ProbeSender, Refusal } from '../../kernel/probes.ts'
import { type Answer, encodeRequest, type NodeId, nonceOf, PROBE_BYTES } from '../../overlay/mesh/packet.ts'

/** One request. */
export type Probe = {
  /** An index of WAYS. */
  readonly way: number
  readonly destination: Address
  /** The size of the whole IP packet, in bytes; undefined: small. */
  readonly size?: number
  /** The way of the answer, if it is another one. */
  readonly answerWay?: number
  /** The kernel fills in the checksum, whatever the link leaves to its device. */
  readonly isFilled?: boolean
}

/** What became of it. */
export type Outcome = Probe & {
  /** Undefined: no answer came in time. */
  readonly rttUs?: number
  readonly refusal?: Pick<Refusal, 'reason' | 'mtu'>
}

type Pending = Probe & {
  readonly receiver: NodeId
  readonly sentMs: number
  rttUs?: number
  refusal?: Refusal
}

export type ExchangePorts = {
  readonly sender: ProbeSender
  /** The UDP port of all agents. */
  readonly port: number
  /** How long an answer may take. */
  readonly timeoutMs: number
  /** A clock that never jumps, in ms with a fraction. */
  readonly nowMs: () => number
  /** Returns 16 random hex digits. */
  readonly nonce: () => string
}

/** IP and UDP headers, in bytes. */
export const HEADER_BYTES = { 4: 28, 6: 48 } as const

/** Sends requests to one node at a time, and waits for their answers. */
export class Exchange {
  readonly #own: NodeId
  readonly #ports: ExchangePorts
  readonly #pending = new Map<string, Pending>()
  #onAll: (() => void) | undefined

  constructor(own: NodeId, ports: ExchangePorts) {
    this.#own = own
    this.#ports = ports
  }

  /** Resolves with the outcome of each probe, in their order: as soon as all are answered, or when the time is up. */
  async run(receiver: NodeId, probes: readonly Probe[], signal: AbortSignal): Promise<Outcome[]> {
    const { sender } = this.#ports
    const sent = probes.map((probe) => this.#send(receiver, probe))
    await this.#answers(signal)
    const isLost = sent.some(({ rttUs }) => rttUs === undefined)
    for (const refusal of isLost ? sender.refusals() : []) {
      const pending = this.#pending.get(nonceOf(refusal.payload) ?? '')
      if (pending) pending.refusal = refusal
    }
    this.#pending.clear()
    return sent
  }

  /** Takes an answer. Returns false if nobody waits for it. */
  take({ nonce, sender, way }: Answer): boolean {
    const pending = this.#pending.get(nonce)
    if (!pending || pending.receiver !== sender || pending.way !== way) return false
    pending.rttUs ??= (this.#ports.nowMs() - pending.sentMs) * 1000
    if ([...this.#pending.values()].every(({ rttUs }) => rttUs !== undefined)) this.#onAll?.()
    return true
  }

  #send(receiver: NodeId, probe: Probe): Pending {
    const { sender, port, nonce: newNonce, nowMs } = this.#ports
    const nonce = newNonce()
    const { way, destination, size, answerWay, isFilled } = probe
    const length = size === undefined ? PROBE_BYTES : size - HEADER_BYTES[destination.family]
    const head = { kind: 'request', nonce, sender: this.#own, receiver, way } as const
    const bytes = encodeRequest({ ...head, ...(answerWay !== undefined && { answerWay }) }, length)
    const pending: Pending = { ...probe, receiver, sentMs: nowMs() }
    this.#pending.set(nonce, pending)
    sender.send(bytes, destination, port, isFilled)
    return pending
  }

  #answers(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer)
        signal.removeEventListener('abort', end)
        this.#onAll = undefined
        resolve()
      }
      const timer = setTimeout(end, this.#ports.timeoutMs)
      signal.addEventListener('abort', end)
      this.#onAll = end
    })
  }
}
