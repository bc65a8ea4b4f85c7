import type { FirewallChain, FirewallPacket, FirewallTest, FirewallVerdict } from './chain.ts'

/** The depth to which chains may call each other, as in the kernel. Source: NFT_JUMP_STACK_SIZE in net/netfilter/nf_tables.h. */
const MAX_DEPTH = 16

/** The possible outcomes for a packet in a chain: bits, several of them if not everything is known. */
const Outcome = { accepted: 1, dropped: 2, returned: 4, goesOn: 8 } as const
const ANY = Outcome.accepted | Outcome.dropped | Outcome.goesOn

/** Finds a chain of the same table by its name. */
export type FindChain = (name: string) => FirewallChain | undefined

/** Reports whether a base chain is proven to drop every packet of this kind. */
export function isDropped(chain: FirewallChain, packet: FirewallPacket, find: FindChain): boolean {
  const outcome = outcomeOf(chain, packet, find, 0)
  const byPolicy = chain.base?.policy === 'drop' ? Outcome.dropped : Outcome.accepted
  const decided = outcome & (Outcome.accepted | Outcome.dropped)
  return (outcome & Outcome.returned ? decided | byPolicy : decided) === Outcome.dropped
}

/** Never `goesOn`: the end of a chain returns. */
function outcomeOf(chain: FirewallChain, packet: FirewallPacket, find: FindChain, depth: number): number {
  let outcome = 0
  for (const { tests, verdict } of chain.rules) {
    const isMet = meetsAll(tests, packet)
    if (isMet === false) continue
    const next = verdictOutcome(verdict, packet, find, depth)
    outcome |= next & ~Outcome.goesOn
    if (isMet && !(next & Outcome.goesOn)) return outcome
  }
  return outcome | Outcome.returned
}

function verdictOutcome(
  verdict: FirewallVerdict,
  packet: FirewallPacket,
  find: FindChain,
  depth: number,
): number {
  switch (verdict.kind) {
    case 'accept':
      return Outcome.accepted
    case 'drop':
      return Outcome.dropped
    case 'return':
      return Outcome.returned
    case 'continue':
      return Outcome.goesOn
    case 'unknown':
      return ANY
    case 'goto':
    case 'jump': {
      const called = depth < MAX_DEPTH ? find(verdict.chain) : undefined
      if (!called) return ANY
      const outcome = outcomeOf(called, packet, find, depth + 1)
      if (verdict.kind === 'goto' || !(outcome & Outcome.returned)) return outcome
      return (outcome & ~Outcome.returned) | Outcome.goesOn
    }
  }
}

/** Returns undefined if only some packets of this kind match. */
function meetsAll(tests: readonly FirewallTest[], packet: FirewallPacket): boolean | undefined {
  let all: boolean | undefined = true
  for (const test of tests) {
    const isMet = meets(test, packet)
    if (isMet === false) return false
    all &&= isMet
  }
  return all
}

function meets({ field, offset, mask, value, isEqual }: FirewallTest, packet: FirewallPacket) {
  const bits = field === 'unknown' ? undefined : packet[field]
  if (!bits) return undefined
  let isKnown = true
  for (const [i, wanted] of value.entries()) {
    const tested = mask?.[i] ?? 0xff
    const known = tested & (bits.known[offset + i] ?? 0)
    if (((bits.value[offset + i] ?? 0) ^ wanted) & known) return !isEqual
    // A wanted bit outside of the mask is never met.
    if (wanted & ~tested) return !isEqual
    isKnown &&= known === tested
  }
  return isKnown ? isEqual : undefined
}
