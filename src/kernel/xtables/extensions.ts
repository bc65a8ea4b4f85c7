import { type FirewallTest, type FirewallVerdict, UNKNOWN_TEST } from '../firewall/chain.ts'

/** In struct xt_conntrack_mtinfo2 and 3, in bytes. Source: linux/netfilter/xt_conntrack.h. */
const FLAGS_AT = 146
const STATE_MASK_AT = 150
const STATE = 1
const DROPS = ['REJECT', 'DROP']
const ACCEPTS = ['ACCEPT', 'MASQUERADE', 'SNAT', 'DNAT', 'REDIRECT', 'NETMAP']
const GOES_ON = 'LOG NFLOG MARK CONNMARK TCPMSS TRACE CT NOTRACK DSCP TOS CLASSIFY'.split(' ')

/** Reads the effect of an iptables target on a packet. */
export function targetVerdict(name: string): FirewallVerdict {
  if (DROPS.includes(name)) return { kind: 'drop' }
  if (ACCEPTS.includes(name)) return { kind: 'accept' }
  return { kind: GOES_ON.includes(name) ? 'continue' : 'unknown' }
}

/** Reads the test of an iptables match; returns undefined for a comment. */
export function matchTest(name: string, revision: number, info: Uint8Array): FirewallTest | undefined {
  if (name === 'comment') return undefined
  return name === 'conntrack' ? conntrackTest(info, revision) : UNKNOWN_TEST
}

/**
 * The test of `-m conntrack --ctstate …` (or `-m state`), from the match's data, that looks at nothing but the state.
 * Its bits are those of nftables.
 */
function conntrackTest(info: Uint8Array, revision: number): FirewallTest {
  if (revision < 2 || info.length < STATE_MASK_AT + 2) return UNKNOWN_TEST
  const view = new DataView(info.buffer, info.byteOffset, info.length)
  const [flags, inverted] = [view.getUint16(FLAGS_AT, true), view.getUint16(FLAGS_AT + 2, true)]
  if (flags !== STATE) return UNKNOWN_TEST
  const mask = new Uint8Array(4)
  new DataView(mask.buffer).setUint32(0, view.getUint16(STATE_MASK_AT, true), true)
  // "Any of these states": what is left under the mask differs from zero.
  return {
    field: 'conntrackState',
    offset: 0,
    mask,
    value: new Uint8Array(4),
    isEqual: (inverted & STATE) !== 0,
  }
}
