import { Code, Fault, isErrno } from '../../core/errors.ts'
import type { FirewallChain } from '../firewall/chain.ts'
import {
  elementDump,
  encodeGetChain,
  encodeGetElement,
  encodeGetGeneration,
  encodeGetTable,
  encodeNftBatch,
  ruleDump,
} from '../nftables/batch.ts'
import {
  isRemoval,
  type NftChain,
  type NftCommand,
  type NftElement,
  type NftHook,
  type NftMapRef,
  type NftOwnElementRef,
} from '../nftables/commands.ts'
import { describeChain, describeElement, describeMap, describeNftCommand } from '../nftables/describe.ts'
import { readElements } from '../nftables/element.ts'
import { type NftAnswer, type NftRefusal, readAnswer, readBatchNews } from '../nftables/reply.ts'
import { holdsRules } from '../nftables/rules.ts'
import { decodeRuleset, RULESET_DUMPS, setDump } from '../nftables/ruleset.ts'
import { decodeSetElements, type SetElement } from '../nftables/set_elements.ts'
import { errnoName } from './errno.ts'
import { type DumpRequest, RouteSocket } from './route_socket.ts'
import { type NetlinkSocket, openNetlinkSocket } from './socket.ts'

const NETLINK_NETFILTER = 12
const ENOENT = 2
const EBUSY = 16
const EINVAL = 22
const EOPNOTSUPP = 95
/** Refusals that say nothing about the commands: somebody else's transaction or a signal came between. */
const PASSING = ['EAGAIN', 'EINTR', 'ERESTART']
const MAX_ATTEMPTS = 10
/** Datagrams that may arrive before the one that counts, such as lost-answer notices; one or two in practice. */
const MAX_DATAGRAMS = 1000
const MAX_SEQ = 2 ** 31

/**
 * Applies the commands as one transaction of the process's own network namespace: all or nothing. Throws the first
 * refusal as a Fault with its errno and the command in nft's words.
 */
export function applyNft(commands: readonly NftCommand[]): void {
  if (commands.length === 0) return
  unlessWithoutNft(
    () => applyOrThrow(commands),
    () => {
      const errno = commands.every(isRemoval) ? ENOENT : EOPNOTSUPP
      throw refusalFault(commands, { index: 0, errno })
    },
  )
}

function applyOrThrow(commands: readonly NftCommand[]): void {
  for (let attempt = 1; ; attempt++) {
    const refusal = precheck(commands) ?? transact(commands)
    if (!refusal) return
    const fault = refusalFault(commands, refusal)
    if (attempt === MAX_ATTEMPTS || !isErrno(fault, ...PASSING)) throw fault
  }
}

/** Whether a set or map holds this key. False as well when the table or set is missing. */
export function hasNftElement(ref: NftOwnElementRef): boolean {
  return unlessWithoutNft(
    () => holdsElement(ref),
    () => false,
  )
}

function holdsElement(ref: NftOwnElementRef): boolean {
  const { refusal, elements } = ask((seq) => encodeGetElement(ref, seq))
  if (!refusal) return elements.some(isOfChain(ref))
  if (errnoName(refusal.errno) === 'ENOENT') return false
  throw refusedFault(`get element ${describeElement(ref)}`, refusal)
}

/** Whether the chain is there, at its hook, and holds its rules in their order, whatever others stand between them. */
export function hasNftChain(chain: NftChain): boolean {
  return unlessWithoutNft(
    () => holdsChain(chain),
    () => false,
  )
}

function holdsChain(chain: NftChain): boolean {
  const { refusal, hook } = ask((seq) => encodeGetChain(chain, seq))
  if (refusal && errnoName(refusal.errno) === 'ENOENT') return false
  if (refusal) throw refusedFault(`get chain ${describeChain(chain)}`, refusal)
  return sameHook(hook, chain.hook) && holdsRules(listRules(chain), chain.rules)
}

function sameHook(a: NftHook | undefined, b: NftHook | undefined): boolean {
  return a?.type === b?.type && a?.hook === b?.hook && a?.priority === b?.priority
}

function listRules(chain: NftChain): Uint8Array[] {
  return dump(ruleDump(chain), `list chain ${describeChain(chain)}`)
}

/** All elements of a map, in no order. Empty as well when the table or map is missing. */
export function nftElements(map: NftMapRef): NftElement[] {
  const replies = dump(elementDump(map), `list map ${describeMap(map)}`).flatMap(readElements)
  return replies.flatMap(({ key, goto, comment }) =>
    goto === undefined ? [] : [{ ...map, key, goto, ...(comment !== undefined && { comment }) }],
  )
}

/** All chains of nftables, of everybody, with their rules. */
export function nftRuleset(): FirewallChain[] {
  const [tables = [], chains = [], rules = []] = [
    RULESET_DUMPS.tables,
    RULESET_DUMPS.chains,
    RULESET_DUMPS.rules,
  ].map((request) => dump(request, 'list the ruleset'))
  const sets = new Map<string, SetElement[] | undefined>()
  return decodeRuleset(tables, chains, rules, (family, table, set) => {
    const key = [family, table, set].join(' ')
    if (!sets.has(key)) sets.set(key, decodeSetElements(dump(setDump(family, table, set), `list set ${set}`)))
    return sets.get(key)
  })
}

/** The bodies of all answers; none when what is asked about is missing. */
function dump(request: DumpRequest, what: string): Uint8Array[] {
  return unlessWithoutNft(
    () => dumpOrThrow(request, what),
    () => [],
  )
}

function dumpOrThrow(request: DumpRequest, what: string): Uint8Array[] {
  const socket = new RouteSocket(openNftSocket())
  try {
    const answer = socket.dump(request)
    if (!('errno' in answer)) return answer
    if (answer.errno === ENOENT) return []
    throw refusedFault(what, { ...answer, index: undefined })
  } finally {
    socket.close()
  }
}

/**
 * What `work` says; on a kernel without nftables, which holds nothing of ours, what `otherwise` says. A question is
 * refused there with EINVAL, which may have another cause too, and a transaction with EOPNOTSUPP.
 */
function unlessWithoutNft<T>(work: () => T, otherwise: () => T): T {
  try {
    return work()
  } catch (error) {
    if (!isErrno(error, 'EINVAL', 'EOPNOTSUPP') || hasNft()) throw error
    return otherwise()
  }
}

function hasNft(): boolean {
  try {
    probeNft()
    return true
  } catch (error) {
    return !isErrno(error, 'EOPNOTSUPP')
  }
}

/** Throws the refusal of a kernel without nftables, or for want of rights. */
export function probeNft(): void {
  const { refusal } = ask(encodeGetGeneration)
  if (!refusal) return
  // What answers then is nfnetlink, which has nobody to hand the question to.
  const errno = refusal.errno === EINVAL ? EOPNOTSUPP : refusal.errno
  throw refusedFault('ask for the generation of the ruleset', { ...refusal, errno })
}

/**
 * The socket is kept for the life of the process. To close it after a removal waits until the kernel has really taken
 * away what was removed, some 10 ms (nft_rcv_nl_event). The end of the process closes it too: whoever removes links as
 * well should do so after nftables, so that both kinds of waiting overlap.
 */
let idle: NetlinkSocket | undefined
let lastSeq = 0

/** Runs `work` with a socket and `count` fresh sequence numbers. The socket is used again unless more answers may come. */
function request<T extends { over: boolean }>(
  count: number,
  work: (socket: NetlinkSocket, seq: number) => T,
): T {
  const socket = idle ?? openNftSocket()
  idle = undefined
  const seq = lastSeq + 1
  lastSeq = (seq + count) % MAX_SEQ
  try {
    const outcome = work(socket, seq)
    if (outcome.over) idle = socket
    return outcome
  } finally {
    if (!idle) socket.close()
  }
}

/** A kernel without any netfilter has nobody at the other end: EPROTONOSUPPORT, which is told as EOPNOTSUPP. */
function openNftSocket(): NetlinkSocket {
  try {
    return openNetlinkSocket(NETLINK_NETFILTER)
  } catch (error) {
    if (!isErrno(error, 'EPROTONOSUPPORT')) throw error
    throw refusedFault('open a socket to netfilter', { index: undefined, errno: EOPNOTSUPP })
  }
}

function transact(commands: readonly NftCommand[]): NftRefusal | undefined {
  return request(commands.length + 2, (socket, seq) => {
    socket.send(encodeNftBatch(commands, seq))
    return receiveUntil(socket, (datagram) => {
      const news = readBatchNews(datagram, commands.length, seq)
      return news.refusal || news.over ? news : undefined
    })
  }).refusal
}

/**
 * A transaction that is refused costs 10 to 20 ms, as the kernel waits for all of its processors before it undoes one
 * (synchronize_rcu in nf_tables_abort); a question costs 0.01 ms. So what the first command takes for granted is asked
 * first. Only the first, as later ones may rely on those before; the transaction itself stays the judge of all else,
 * but for whose an element is: that only we ask.
 */
function precheck(commands: readonly NftCommand[]): NftRefusal | undefined {
  for (const [index, command] of commands.entries()) {
    const isAsked = index === 0 || (command.op === 'removeElement' && command.ofChain !== undefined)
    const question = isAsked && questionAbout(command)
    if (!question) continue
    const { refusal, elements, chainUse = 0 } = ask(question)
    if (refusal?.errno === ENOENT) return { ...refusal, index }
    if (refusal) return undefined
    if (command.op === 'removeChain' && chainUse > 0) return { index, errno: EBUSY }
    if (command.op === 'removeElement' && !elements.some(isOfChain(command))) return { index, errno: ENOENT }
  }
  return undefined
}

function isOfChain({ ofChain }: NftOwnElementRef): (element: { goto?: string }) => boolean {
  return ({ goto }) => ofChain === undefined || goto === ofChain
}

type Question = (seq: number) => Uint8Array

function questionAbout(command: NftCommand): Question | undefined {
  switch (command.op) {
    case 'ensureChain':
      return (seq) => encodeGetTable(command, seq)
    case 'addElement':
      return (seq) => encodeGetChain({ ...command, chain: command.goto }, seq)
    case 'removeElement':
      return (seq) => encodeGetElement(command, seq)
    case 'flushChain':
    case 'removeChain':
      return (seq) => encodeGetChain(command, seq)
    default:
      return undefined
  }
}

function ask(question: Question): NftAnswer {
  return request(1, (socket, seq) => {
    socket.send(question(seq))
    return receiveUntil(socket, (datagram) => {
      const answer = readAnswer(datagram, seq)
      return answer && { ...answer, over: true }
    })
  })
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
  const hint = HINTS[name]
  return new Fault(`nftables: ${what}: ${name}${text ? ` (${text})` : ''}`, {
    errno: name,
    ...(hint ? { hint } : {}),
  })
}

const HINTS: Record<string, string> = {
  EPERM: 'Run as root with CAP_NET_ADMIN in the network namespace of the host.',
  EOPNOTSUPP: 'Load the kernel module nf_tables (modprobe nf_tables), or use a kernel that has it.',
}
