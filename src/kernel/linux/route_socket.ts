import { Code, Fault } from '../../core/errors.ts'
import { Digest } from '../netlink/digest.ts'
import { type Ack, type Message, MessageWriter, Nlm, readEnd, readMessages } from '../netlink/message.ts'
import type { NetlinkSocket } from './socket.ts'

const MAX_DATAGRAMS = 100_000
const MAX_DUMPS = 5

/** A dump: the type of the request, the type of the answers, and the body of the request. */
export type DumpRequest = {
  readonly request: number
  readonly reply: number
  readonly body: (writer: MessageWriter) => unknown
}

const SUCCESS: Ack = { errno: 0 }

/** Requests and their answers over one rtnetlink socket. */
export class RouteSocket {
  readonly #socket: NetlinkSocket
  #seq = 0
  #hasDumped = false

  constructor(socket: NetlinkSocket) {
    this.#socket = socket
  }

  /**
   * Sends `count` requests at once and receives until the last is answered. `write` writes them, numbered from `first`;
   * `onReply` gets every other message than an acknowledgement. Returns the acknowledgements in the order of the requests.
   *
   * The kernel works them off in order, and tells a refusal unasked. So only the last one asks for an acknowledgement,
   * or, being a question, not even that: a success is one answer to receive, however many the requests. The last one may
   * be a dump, which is over when the kernel says so.
   */
  exchange(
    count: number,
    write: (writer: MessageWriter, first: number) => void,
    onReply: (message: Message) => void,
  ): readonly Ack[] {
    const first = this.#seq + 1
    this.#seq += count
    const writer = new MessageWriter()
    write(writer, first)
    const isQuestion = writer.askOnlyLast()
    this.#socket.send(writer.finish())
    const acks: Ack[] = []
    for (let i = 0; i < count; i++) acks[i] = SUCCESS
    for (let over = false, datagrams = 0; !over; datagrams++) {
      for (const message of readMessages(this.#datagram(datagrams))) {
        const index = message.seq - first
        // A late answer to a request that was given up.
        if (index < 0 || index >= count) continue
        const ack = readEnd(message)
        if (ack) acks[index] = ack
        else onReply(message)
        over ||= index === count - 1 && (ack !== undefined || isQuestion)
      }
    }
    return acks
  }

  /**
   * Returns the bodies of all answers, or the refusal. Repeats the dump, a bounded number of times, if the kernel reports
   * that the table changed meanwhile (NLM_F_DUMP_INTR).
   */
  dump(what: DumpRequest): Uint8Array[] | Ack {
    return this.#repeated(() => {
      const bodies: Uint8Array[] = []
      // The receive buffer is reused, so a body that is kept must be copied.
      const end = this.#dumpOnce(what, (body) => bodies.push(body.slice()))
      return end?.errno === 0 ? bodies : end
    })
  }

  /** Returns a text that is the same for the same outcome of a dump, but for the age of what it tells of. */
  digest(what: DumpRequest): string {
    return this.#repeated(() => {
      const digest = new Digest()
      const take = (datagram: Uint8Array, seq: number) => digest.addAll(what.reply, seq, datagram)
      const end = this.#dumpOnce(what, (body) => digest.add(what.reply, body), take)
      return end && digestText(end, digest)
    })
  }

  #repeated<T>(attemptDump: () => T | undefined): T {
    if (!this.#hasDumped) this.#socket.narrowDumps()
    this.#hasDumped = true
    for (let attempt = 0; attempt < MAX_DUMPS; attempt++) {
      const outcome = attemptDump()
      if (outcome) return outcome
    }
    throw new Fault(`the kernel’s tables changed during ${MAX_DUMPS} dumps in a row`, {
      code: Code.tryLater,
      hint: 'Try again; something on this node changes links or routes all the time.',
    })
  }

  close(): void {
    this.#socket.close()
  }

  /**
   * Returns how it has ended; undefined if it was interrupted. `onBody` gets a part of the receive buffer. `take` may take what a datagram
   * begins with, and returns how many bytes that is.
   */
  #dumpOnce(
    { request, reply, body }: DumpRequest,
    onBody: (body: Uint8Array) => void,
    take?: (datagram: Uint8Array, seq: number) => number,
  ): Ack | undefined {
    const seq = ++this.#seq
    const writer = new MessageWriter().begin(request, Nlm.request | Nlm.dump, seq)
    body(writer)
    this.#socket.send(writer.end().finish())
    let interrupted = false
    for (let datagrams = 0; ; datagrams++) {
      const datagram = this.#datagram(datagrams)
      const taken = take?.(datagram, seq) ?? 0
      for (const message of taken < datagram.length ? readMessages(datagram.subarray(taken)) : []) {
        if (message.seq !== seq) continue
        interrupted ||= (message.flags & Nlm.dumpInterrupted) !== 0
        const end = readEnd(message)
        if (end) return end.errno === 0 && interrupted ? undefined : end
        if (message.type === reply) onBody(message.body)
      }
    }
  }

  #datagram(datagrams: number): Uint8Array {
    if (datagrams < MAX_DATAGRAMS) return this.#socket.receive()
    throw new Fault(`no end of the answer in ${MAX_DATAGRAMS} messages of the kernel`, {
      code: Code.tryLater,
    })
  }
}

/** Returns for the outcome of a dump what `digest` returns for the same one. */
export function digestOf({ reply }: DumpRequest, outcome: Uint8Array[] | Ack): string {
  const digest = new Digest()
  if (!Array.isArray(outcome)) return digestText(outcome, digest)
  for (const body of outcome) digest.add(reply, body)
  return digestText(SUCCESS, digest)
}

function digestText({ errno }: Ack, digest: Digest): string {
  return errno === 0 ? digest.value : `refused: ${errno}`
}
