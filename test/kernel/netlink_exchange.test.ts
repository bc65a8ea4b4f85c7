import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Code, Fault } from '../../src/core/errors.ts'
import { RouteSocket } from '../../src/kernel/linux/route_socket.ts'
import type { NetlinkSocket } from '../../src/kernel/linux/socket.ts'
import { MessageWriter, readMessages } from '../../src/kernel/netlink/message.ts'
import { malformed } from '../support/damage.ts'
import { faultOf, outcomeOf } from '../support/fault_of.ts'

const [ERROR, DONE, NEWLINK, GETLINK, NEWROUTE] = [2, 3, 16, 18, 24]
const [MULTI, INTERRUPTED] = [0x2, 0x10]
const ENODEV = 19

type Answer = { seq: number; type: number; flags?: number; body?: number }

describe('an exchange', () => {
  it('returns the acknowledgements in the order of the requests, however they arrive', () => {
    const socket = scripted(() => [[ack(2, 17)], [ack(1, 0), ack(3, 0)]])
    const acks = socket.exchange(3, requests(3), ignore)
    expect(acks.map(({ errno }) => errno)).toEqual([0, 17, 0])
  })

  it('hands out what is no acknowledgement', () => {
    const bodies: number[] = []
    const socket = scripted(() => [[{ seq: 1, type: NEWLINK, body: 42 }, ack(1, 0)]])
    socket.exchange(1, requests(1), ({ body }) => bodies.push(body[0] ?? -1))
    expect(bodies).toEqual([42])
  })

  it('asks for one acknowledgement, of the last request, and takes silence about the others for success', () => {
    const flags: number[] = []
    const socket = scripted(
      () => [[ack(2, 17)], [ack(3, 0)]],
      undefined,
      (sent) => {
        flags.push(...readMessages(sent).map((message) => message.flags))
      },
    )
    expect(socket.exchange(3, requests(3), ignore).map(({ errno }) => errno)).toEqual([0, 17, 0])
    expect(flags).toEqual([1, 1, 5])
  })

  it('ends with the reply to a question, for which no acknowledgement is asked', () => {
    const flags: number[] = []
    const bodies: number[] = []
    const socket = scripted(
      () => [[{ seq: 1, type: NEWLINK, body: 42 }]],
      undefined,
      (sent) => {
        flags.push(...readMessages(sent).map((message) => message.flags))
      },
    )
    const question = (writer: MessageWriter, first: number) => writer.begin(GETLINK, 5, first).end()
    socket.exchange(1, question, ({ body }) => bodies.push(body[0] ?? -1))
    expect([flags, bodies]).toEqual([[1], [42]])
  })

  it('passes over late answers to requests that were given up', () => {
    const socket = scripted((sent) =>
      sent === 1 ? [] : [[{ seq: 1, type: NEWLINK }, ack(1, 17)], [ack(2, 0)]],
    )
    faultOf(() => socket.exchange(1, requests(1), ignore))
    const seen: number[] = []
    expect(socket.exchange(1, requests(1), ({ type }) => seen.push(type))).toEqual([{ errno: 0 }])
    expect(seen).toEqual([])
  })

  it('numbers its requests on from those before', () => {
    const socket = scripted((sent) => [[ack(sent, 0)]])
    const firsts: number[] = []
    for (let i = 0; i < 3; i++) {
      socket.exchange(
        1,
        (writer, first) => {
          firsts.push(first)
          requests(1)(writer, first)
        },
        ignore,
      )
    }
    expect(firsts).toEqual([1, 2, 3])
  })

  it('gives up after a bounded number of datagrams that answer nothing', () => {
    const socket = scripted(() => undefined)
    const fault = faultOf(() => socket.exchange(1, requests(1), ignore))
    expect(fault.code).toBe(11)
  })
})

describe('a dump', () => {
  const links = { request: 18, reply: NEWLINK, body: (writer: MessageWriter) => writer.u32(0) }
  const done = (seq: number, errno = 0): Answer => ({ seq, type: DONE, flags: MULTI, body: -errno })
  const link = (seq: number, body: number, flags = MULTI): Answer => ({ seq, type: NEWLINK, flags, body })

  it('collects the replies of all datagrams up to the end', () => {
    const socket = scripted(() => [[link(1, 5), link(1, 6)], [link(1, 7)], [done(1)]])
    expect(firstBytes(socket.dump(links))).toEqual([5, 6, 7])
  })

  it('keeps what it read while the receive buffer is used again', () => {
    const socket = scripted(() => [[link(1, 5)], [link(1, 6)], [done(1)]], new Uint8Array(256))
    expect(firstBytes(socket.dump(links))).toEqual([5, 6])
  })

  it('passes over other messages, and answers to other requests', () => {
    const socket = scripted(() => [
      [link(9, 5), { seq: 1, type: NEWROUTE, body: 6 }, done(9), link(1, 7), done(1)],
    ])
    expect(firstBytes(socket.dump(links))).toEqual([7])
  })

  it('is made again when it was interrupted', () => {
    const socket = scripted((sent) => [
      [link(sent, sent, sent === 1 ? MULTI | INTERRUPTED : MULTI), done(sent)],
    ])
    expect(firstBytes(socket.dump(links))).toEqual([2])
  })

  it('is given up with code 11 when it is interrupted every time', () => {
    const socket = scripted((sent) => [[{ ...done(sent), flags: MULTI | INTERRUPTED }]])
    expect(faultOf(() => socket.dump(links)).code).toBe(11)
  })

  it('returns a refusal, whether it comes at once or at the end', () => {
    expect(scripted(() => [[ack(1, ENODEV)]]).dump(links)).toEqual({ errno: ENODEV })
    expect(scripted(() => [[done(1, ENODEV)]]).dump(links)).toEqual({ errno: ENODEV })
  })
})

describe('malformed datagrams', () => {
  const links = { request: GETLINK, reply: NEWLINK, body: (writer: MessageWriter) => writer.u32(0) }
  const samples = [
    datagramOf([ack(1, 0)]),
    datagramOf([ack(1, 17), { seq: 2, type: NEWLINK, body: 42 }, ack(2, 0)]),
    datagramOf([
      { seq: 1, type: NEWLINK, flags: MULTI, body: 5 },
      { seq: 1, type: DONE, flags: MULTI },
    ]),
    datagramOf([{ seq: 1, type: DONE, flags: MULTI | INTERRUPTED }]),
  ]

  it('end in an answer or a Fault after a bounded number of datagrams', () => {
    fc.assert(
      fc.property(fc.array(malformed(samples), { maxLength: 20 }), (datagrams) => {
        const acks = outcomeOf(() => babbling(datagrams).exchange(2, requests(2), ignore))
        if (!(acks instanceof Fault))
          expect(acks.map(({ errno }) => Number.isInteger(errno))).toEqual([true, true])
        const dump = outcomeOf(() => babbling(datagrams).dump(links))
        if (!(dump instanceof Fault)) expect(Array.isArray(dump) || Number.isInteger(dump.errno)).toBe(true)
      }),
      { numRuns: 1000 },
    )
  })

  /** Whatever is sent, these come, and then a Fault as after a timeout. */
  function babbling(datagrams: readonly Uint8Array[]): RouteSocket {
    const left = [...datagrams]
    const receive = () => {
      const next = left.shift()
      if (next) return next
      throw new Fault('the kernel did not answer', { code: Code.tryLater })
    }
    return new RouteSocket({ send() {}, receive, narrowDumps() {}, close() {} })
  }
})

/**
 * A socket that answers from a script: for the nth send a list of datagrams, then a Fault as after a timeout. Undefined:
 * it babbles for ever. `shared`: all datagrams are views of this one buffer. `onSend` sees what goes out.
 */
function scripted(
  script: (sent: number) => Answer[][] | undefined,
  shared?: Uint8Array,
  onSend: (bytes: Uint8Array) => void = () => {},
): RouteSocket {
  let sent = 0
  let pending: Uint8Array[] | undefined = []
  const socket: NetlinkSocket = {
    send(bytes) {
      onSend(bytes)
      pending = script(++sent)?.map(datagramOf)
    },
    receive() {
      if (!pending) return new Uint8Array(0)
      const next = pending.shift()
      if (!next) throw new Fault('the kernel did not answer', { code: Code.tryLater })
      shared?.set(next)
      return shared ? shared.subarray(0, next.length) : next
    },
    narrowDumps() {},
    close() {},
  }
  return new RouteSocket(socket)
}

function datagramOf(answers: Answer[]): Uint8Array {
  const writer = new MessageWriter()
  for (const { type, seq, flags = 0, body = 0 } of answers) {
    writer.begin(type, flags, seq).u32(body >>> 0)
    if (type === ERROR) writer.u32(16).u32(0).u32(0).u32(0)
    writer.end()
  }
  return writer.finish()
}

function ack(seq: number, errno: number): Answer {
  return { seq, type: ERROR, body: -errno }
}

function requests(count: number): (writer: MessageWriter, first: number) => void {
  return (writer, first) => {
    for (let i = 0; i < count; i++) writer.begin(NEWLINK, 5, first + i).end()
    expect(readMessages(writer.finish())).toHaveLength(count)
  }
}

function firstBytes(outcome: ReturnType<RouteSocket['dump']>): (number | undefined)[] {
  if (!Array.isArray(outcome)) throw new Error('the dump was refused')
  return outcome.map((body) => body[0])
}

function ignore(): void {}
