import { Code, Fault, isErrno } from '../../core/errors.ts'
import { joined } from '../../runtime/spawn.ts'
import type { FirewallChain } from '../firewall/chain.ts'
import { encodeNftBatch } from '../nftables/batch.ts'
import { describeElements, describeName, describeNftCommand } from '../nftables/describe.ts'
import { readElements, showsElement } from '../nftables/elements.ts'
import {
  isRemoval,
  type NftChain,
  type NftChainRef,
  type NftCommand,
  type NftElement,
  type NftHook,
  type NftSet,
  type NftTable,
} from '../nftables/objects.ts'
import {
  elementDump,
  encodeGetChain,
  encodeGetElement,
  encodeGetGeneration,
  encodeGetTable,
  ruleDump,
} from '../nftables/questions.ts'
import { type NftAnswer, type NftRefusal, readAnswer, readBatchNews } from '../nftables/reply.ts'
import { holdsRules } from '../nftables/rules.ts'
import { decodeRuleset, RULESET_DUMPS, setDump } from '../nftables/ruleset.ts'
import { decodeSetElements, type SetElement } from '../nftables/set_elements.ts'
import type { Nftables } from '../nftables.ts'
import type { Recollection } from '../recollection.ts'
import { Errno, errnoName } from './errno.ts'
import { Memory } from './memory.ts'
import { NETLINK_NETFILTER } from './net.ts'
import { type Question, questionsAbout } from './nft_preconditions.ts'
import { type DumpRequest, digestOf, RouteSocket } from './route_socket.ts'
import { type NetlinkSocket, openNetlinkSocket } from './socket.ts'

/** Refusals that say nothing about the commands: somebody else's transaction or a signal came between. */
const PASSING = ['EAGAIN', 'EINTR', 'ERESTART']
const MAX_ATTEMPTS = 10
/** Datagrams that may arrive before the one that counts, such as lost-answer notices; one or two in practice. */
const MAX_DATAGRAMS = 1000
const MAX_SEQ = 2 ** 31

/**
 * nftables of the process's own network namespace. The socket is kept for the life of the process. To close it after a
 * removal waits until the kernel has really taken away what was removed, some 10 ms (nft_rcv_nl_event). The end of the
 * process closes it too: whoever removes links as well should do so after nftables, so that both kinds of waiting overlap.
 */
export class LinuxNftables implements Nftables {
  #idle: NetlinkSocket | undefined
  #lastSeq = 0
  /** A kernel that has nftables keeps it. */
  #hasAnswered = false
  readonly #memory = new Memory()
  /** What is asked together with the next question, and what was answered. */
  #early: { readonly chain: NftChainRef; answer: NftAnswer | undefined }[] = []

  /** As long as there has been no transaction, by whomever, nothing need be asked again. */
  remember<T>(ask: () => T): Recollection<T> {
    let generation = this.#generation()
    const { value, isSame } = this.#memory.remember(ask)
    return {
      value,
      isSame: () => {
        const now = this.#generation()
        const same = (now !== undefined && now === generation) || isSame()
        if (same) generation = now
        return same
      },
    }
  }

  apply(transaction: readonly NftCommand[]): void {
    if (transaction.length === 0) return
    this.#unlessWithoutNft(
      () => this.#applyOrThrow(transaction),
      () => {
        const errno = transaction.every(isRemoval) ? Errno.ENOENT : Errno.EOPNOTSUPP
        throw refusalFault(transaction, { index: 0, errno })
      },
    )
  }

  hasElement<K, D>(set: NftSet<K, D>, element: NftElement<K, D>): boolean {
    const body = this.#bodyOf(set, element.key)
    return body !== undefined && showsElement(set, element, body)
  }

  element<K, D>(set: NftSet<K, D>, key: K): NftElement<K, D> | undefined {
    const body = this.#bodyOf(set, key)
    return body && readElements(set, [body])[0]
  }

  /** Returns the message that shows an element; undefined if there is none. */
  #bodyOf<K, D>(set: NftSet<K, D>, key: K): Uint8Array | undefined {
    return this.#unlessWithoutNft(
      () => {
        const { refusal, element } = this.#ask((seq) => encodeGetElement(set, { key }, seq))
        if (!refusal) return element ?? new Uint8Array()
        if (refusal.errno === Errno.ENOENT) return undefined
        throw refusedFault(`get element ${describeElements(set, [{ key }])}`, refusal)
      },
      () => undefined,
    )
  }

  hasChain(chain: NftChain): boolean {
    return this.#unlessWithoutNft(
      () => {
        const { refusal, hook } = this.#ask((seq) => encodeGetChain(chain, seq))
        if (refusal?.errno === Errno.ENOENT) return false
        if (refusal) throw refusedFault(`get chain ${describeName(chain)}`, refusal)
        if (!sameHook(hook, chain.hook)) return false
        return holdsRules(this.#dump(ruleDump(chain), `list chain ${describeName(chain)}`), chain.rules)
      },
      () => false,
    )
  }

  isDormant(table: NftTable): boolean {
    return this.#unlessWithoutNft(
      () => {
        const { refusal, isDormant = false } = this.#ask((seq) => encodeGetTable(table, seq))
        if (!refusal || refusal.errno === Errno.ENOENT) return isDormant
        throw refusedFault(`get table ${table.family} ${table.name}`, refusal)
      },
      () => false,
    )
  }

  askAbout(chain: NftChain): void {
    this.#early.push({ chain, answer: undefined })
  }

  isHooked(chain: NftChain): boolean {
    return this.#unlessWithoutNft(
      () => {
        const early = this.#early.find((one) => sameChain(one.chain, chain))
        this.#early = this.#early.filter((one) => one !== early)
        const {
          refusal,
          hook,
          chainUse = 0,
        } = early?.answer ?? this.#ask((seq) => encodeGetChain(chain, seq))
        if (refusal && refusal.errno !== Errno.ENOENT)
          throw refusedFault(`get chain ${describeName(chain)}`, refusal)
        return !refusal && sameHook(hook, chain.hook) && chainUse >= chain.rules.length
      },
      () => false,
    )
  }

  elements<K, D>(set: NftSet<K, D>): NftElement<K, D>[] {
    return readElements(set, this.#dump(elementDump(set), `list ${describeName(set)}`))
  }

  /** A kernel without nftables answers by nfnetlink, which has nobody to hand the question to: EINVAL. */
  probe(): void {
    if (this.#hasAnswered) return
    const { refusal } = this.#ask(encodeGetGeneration)
    this.#hasAnswered = !refusal
    if (!refusal) return
    const errno = refusal.errno === Errno.EINVAL ? Errno.EOPNOTSUPP : refusal.errno
    throw refusedFault('ask for the generation of the ruleset', { ...refusal, errno })
  }

  /** Returns all chains of nftables, of everybody, with their rules. */
  chains(): FirewallChain[] {
    const [tables = [], chains = [], rules = []] = [
      RULESET_DUMPS.tables,
      RULESET_DUMPS.chains,
      RULESET_DUMPS.rules,
    ].map((request) => this.#dump(request, 'list the ruleset'))
    const sets = new Map<string, SetElement[] | undefined>()
    return decodeRuleset(tables, chains, rules, (family, table, set) => {
      const key = [family, table, set].join(' ')
      if (!sets.has(key)) {
        sets.set(key, decodeSetElements(this.#dump(setDump(family, table, set), `list set ${set}`)))
      }
      return sets.get(key)
    })
  }

  #generation(): number | undefined {
    return this.#ask(encodeGetGeneration).generation
  }

  #applyOrThrow(commands: readonly NftCommand[]): void {
    for (let attempt = 1; ; attempt++) {
      const refusal = this.#precheck(commands) ?? this.#transact(commands)
      if (!refusal) return
      const fault = refusalFault(commands, refusal)
      if (attempt === MAX_ATTEMPTS || !isErrno(fault, ...PASSING)) throw fault
    }
  }

  #transact(commands: readonly NftCommand[]): NftRefusal | undefined {
    let commandOf: readonly number[] = []
    const { refusal } = this.#request((socket, seq) => {
      const batch = encodeNftBatch(commands, seq)
      commandOf = batch.commandOf
      this.#lastSeq = (seq + commandOf.length + 1) % MAX_SEQ
      socket.send(batch.bytes)
      return receiveUntil(socket, (datagram) => {
        const news = readBatchNews(datagram, commandOf.length, seq)
        return news.refusal || news.over ? news : undefined
      })
    })
    if (refusal?.index === undefined) return refusal
    return { ...refusal, index: commandOf[refusal.index] }
  }

  /**
   * A transaction that is refused costs 10 to 20 ms, as the kernel waits for all of its processors before it undoes one
   * (synchronize_rcu in nf_tables_abort); a question costs 0.01 ms. So what the first command takes for granted is asked
   * first. Only the first, as later ones may rely on those before; the transaction itself stays the judge of all else,
   * but for the data of an element to be removed: that only we ask.
   */
  #precheck(commands: readonly NftCommand[]): NftRefusal | undefined {
    for (const [index, command] of commands.entries()) {
      const refusal = this.#precheckOne(command, index)
      if (refusal) return refusal === UNKNOWN ? undefined : refusal
    }
    return undefined
  }

  #precheckOne(command: NftCommand, index: number): NftRefusal | typeof UNKNOWN | undefined {
    for (const { ask, errnoOf } of questionsAbout(command, index === 0)) {
      const answer = this.#ask(ask)
      const errno = answer.refusal ? answer.refusal.errno : errnoOf(answer)
      if (answer.refusal && errno !== Errno.ENOENT) return UNKNOWN
      if (errno) return { ...answer.refusal, index, errno }
    }
    return undefined
  }

  #ask(question: Question): NftAnswer {
    return this.#memory.asked(() => this.#answerTo(question))
  }

  /** What is to be asked about goes before the question: the kernel answers in their order, each in a datagram. */
  #answerTo(question: Question): NftAnswer {
    const early = this.#early.filter(({ answer }) => !answer)
    return this.#request((socket, first) => {
      const seq = first + early.length
      this.#lastSeq = seq % MAX_SEQ
      socket.send(packed([...early.map(({ chain }, i) => encodeGetChain(chain, first + i)), question(seq)]))
      for (const [i, one] of early.entries()) {
        one.answer = receiveUntil(socket, (datagram) => readAnswer(datagram, first + i))
      }
      return receiveUntil(socket, (datagram) => {
        const answer = readAnswer(datagram, seq)
        return answer && { ...answer, over: true }
      })
    })
  }

  /** Runs `work` with a socket and a fresh sequence number. The socket is used again unless more answers may come. */
  #request<T extends { over: boolean }>(work: (socket: NetlinkSocket, seq: number) => T): T {
    const socket = this.#idle ?? openNftSocket()
    this.#idle = undefined
    this.#lastSeq = (this.#lastSeq + 1) % MAX_SEQ
    try {
      const outcome = work(socket, this.#lastSeq)
      if (outcome.over) this.#idle = socket
      return outcome
    } finally {
      if (!this.#idle) socket.close()
    }
  }

  /** Returns the bodies of all answers; none when what is asked about is missing. */
  #dump(request: DumpRequest, what: string): Uint8Array[] {
    return this.#unlessWithoutNft(
      () => {
        const answer = onNewSocket((socket) => socket.dump(request))
        this.#memory.note(() => {
          const before = digestOf(request, answer)
          return () => onNewSocket((socket) => socket.digest(request)) === before
        })
        if (!('errno' in answer)) return answer
        if (answer.errno === Errno.ENOENT) return []
        throw refusedFault(what, { ...answer, index: undefined })
      },
      () => [],
    )
  }

  /**
   * Returns what `work` returns; on a kernel without nftables, which holds nothing of ours, what `otherwise` returns. A
   * question is refused there with EINVAL, which may have another cause too, and a transaction with EOPNOTSUPP.
   */
  #unlessWithoutNft<T>(work: () => T, otherwise: () => T): T {
    try {
      return work()
    } catch (error) {
      if (!isErrno(error, 'EINVAL', 'EOPNOTSUPP') || this.#isThere()) throw error
      return otherwise()
    }
  }

  #isThere(): boolean {
    try {
      this.probe()
      return true
    } catch (error) {
      return !isErrno(error, 'EOPNOTSUPP')
    }
  }
}

/** The answer to a question that says nothing about the command. */
const UNKNOWN = 'unknown'

function sameChain(a: NftChainRef, b: NftChainRef): boolean {
  return a.name === b.name && a.table.name === b.table.name && a.table.family === b.table.family
}

/** Returns the messages as one datagram. Mostly there is one, which needs no copy. */
function packed(messages: readonly Uint8Array<ArrayBuffer>[]): Uint8Array<ArrayBuffer> {
  const [only, ...more] = messages
  if (only && more.length === 0) return only
  return joined(
    messages,
    messages.reduce((sum, { length }) => sum + length, 0),
  )
}

function sameHook(a: NftHook | undefined, b: NftHook | undefined): boolean {
  return a?.type === b?.type && a?.hook === b?.hook && a?.priority === b?.priority
}

function onNewSocket<T>(work: (socket: RouteSocket) => T): T {
  const socket = new RouteSocket(openNftSocket())
  try {
    return work(socket)
  } finally {
    socket.close()
  }
}

/** A kernel without any netfilter has nobody at the other end: EPROTONOSUPPORT, which is told as EOPNOTSUPP. */
function openNftSocket(): NetlinkSocket {
  try {
    return openNetlinkSocket(NETLINK_NETFILTER)
  } catch (error) {
    if (!isErrno(error, 'EPROTONOSUPPORT')) throw error
    throw refusedFault('open a socket to netfilter', { index: undefined, errno: Errno.EOPNOTSUPP })
  }
}

/**
 * ENOBUFS says that answers were dropped, not that there are none: the kernel keeps the oldest, among them the first
 * refusal. A success is a single answer, which always fits.
 */
function receiveUntil<T>(socket: NetlinkSocket, read: (datagram: Uint8Array) => T | undefined): T {
  for (let count = 0; count < MAX_DATAGRAMS; count++) {
    try {
      const found = read(socket.receive())
      if (found !== undefined) return found
    } catch (error) {
      if (!isErrno(error, 'ENOBUFS')) throw error
    }
  }
  throw new Fault(`nftables: no answer among ${MAX_DATAGRAMS} messages of the kernel`, {
    code: Code.tryLater,
  })
}

function refusalFault(commands: readonly NftCommand[], refusal: NftRefusal): Fault {
  const command = refusal.index === undefined ? undefined : commands[refusal.index]
  const what = command ? describeNftCommand(command) : `a transaction of ${commands.length} commands`
  return refusedFault(what, refusal)
}

function refusedFault(what: string, { errno, text }: NftRefusal): Fault {
  const name = errnoName(errno)
  return new Fault(`nftables: ${what}: ${name}${text ? ` (${text})` : ''}`, {
    errno: name,
    hint: HINTS[name],
  })
}

const HINTS: Record<string, string> = {
  EPERM: 'Run as root with CAP_NET_ADMIN in the network namespace of the host.',
  EOPNOTSUPP: 'Load the kernel module nf_tables (modprobe nf_tables), or use a kernel that has it.',
}
