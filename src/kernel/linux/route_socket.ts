import { Code, Fault } from '../../core/errors.ts'
import {
  type Ack,
  type Message,
  MessageWriter,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_REQUEST,
  readAck,
  readDone,
  readMessages,
} from '../netlink/message.ts'
import type { NetlinkSocket } from './socket.ts'

const MAX_DATAGRAMS = 100_000
const MAX_DUMPS = 5

/** What a dump asks for: the type of the request, the type of what answers it, and the request's body. */
export type DumpRequest = {
  readonly request: number
  readonly reply: number
  readonly body: (writer: MessageWriter) => unknown
}

/** Requests and their answers over one rtnetlink socket. */
export class RouteSocket {
  readonly #socket: NetlinkSocket
  #seq = 0

  constructor(socket: NetlinkSocket) {
    this.#socket = socket
  }

  /**
   * Sends `count` requests at once and receives until each is acknowledged. `write` writes them, numbered from `first`;
   * `onReply` gets what is no acknowledgement. Returns the acknowledgements in the order of the requests.
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
    this.#socket.send(writer.finish())
    const acks: Ack[] = []
    let missing = count
    for (let datagrams = 0; missing > 0; datagrams++) {
      for (const message of this.#receive(datagrams)) {
        const index = message.seq - first
        // Not ours: a late answer to a request that was given up.
        if (index < 0 || index >= count) continue
        const ack = readAck(message)
        if (!ack) onReply(message)
        else if (!acks[index]) {
          acks[index] = ack
          missing--
        }
      }
    }
    return acks
  }

  /**
   * The bodies of all answers, or the refusal. The kernel says when a table changed under a dump (NLM_F_DUMP_INTR): then
   * the dump is made again, a bounded number of times.
   */
  dump(what: DumpRequest): Uint8Array[] | Ack {
    for (let attempt = 0; attempt < MAX_DUMPS; attempt++) {
      const outcome = this.#dumpOnce(what)
      if (outcome) return outcome
    }
    throw new Fault(`the kernel’s tables changed during ${MAX_DUMPS} dumps in a row`, {
      code: Code.tryLater,
      cure: 'Try again; something on this node changes links or routes all the time.',
    })
  }

  close(): void {
    this.#socket.close()
  }

  /** Undefined if it was interrupted. */
  #dumpOnce({ request, reply, body }: DumpRequest): Uint8Array[] | Ack | undefined {
    const seq = ++this.#seq
    const writer = new MessageWriter(64).begin(request, NLM_F_REQUEST | NLM_F_DUMP, seq)
    body(writer)
    this.#socket.send(writer.end().finish())
    const bodies: Uint8Array[] = []
    let interrupted = false
    for (let datagrams = 0; ; datagrams++) {
      for (const message of this.#receive(datagrams)) {
        if (message.seq !== seq) continue
        interrupted ||= (message.flags & NLM_F_DUMP_INTR) !== 0
        const end = readAck(message) ?? readDone(message)
        if (end) return end.errno !== 0 ? end : interrupted ? undefined : bodies
        // The receive buffer is used again: what is kept must be copied.
        if (message.type === reply) bodies.push(message.body.slice())
      }
    }
  }

  #receive(datagrams: number): Message[] {
    if (datagrams < MAX_DATAGRAMS) return readMessages(this.#socket.receive())
    throw new Fault(`no end of the answer in ${MAX_DATAGRAMS} messages of the kernel`, {
      code: Code.tryLater,
    })
  }
}
