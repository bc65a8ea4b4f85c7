import {
  type Address,
  formatAddress,
  formatCidr,
  parseAddress,
  parseCidr,
} from '../../../src/core/address.ts'
import { type Mac, parseMac } from '../../../src/core/mac.ts'
import type { Change, Kernel, Link, Netns, Route } from '../../../src/kernel/kernel.ts'
import { faultOf } from '../../support/fault_of.ts'

/** A kernel to try, with what only the outside can do to it. */
export type KernelUnderTest = {
  readonly kernel: Kernel
  /** Whether this kernel was built with VLAN links and VLAN filtering. */
  readonly vlans: boolean
  /** Paths that can't be opened as a network namespace: nothing, a file, a namespace of another kind. */
  readonly missing: string
  readonly plainFile: string
  readonly otherNamespace: string
  /** Makes a network namespace and returns its path. */
  makeNetns(): string
  removeNetns(path: string): void
  /** Leaves the subject as it was before the test. */
  cleanup(): void
}

/** What a sentence of the contract works with: two fresh namespaces, `a` and `b`. */
export class KernelFixture {
  readonly subject: KernelUnderTest
  readonly paths: { readonly a: string; readonly b: string }
  readonly a: Netns
  readonly b: Netns

  constructor(subject: KernelUnderTest) {
    this.subject = subject
    this.paths = { a: subject.makeNetns(), b: subject.makeNetns() }
    this.a = subject.kernel.openNetns(this.paths.a)
    this.b = subject.kernel.openNetns(this.paths.b)
  }

  get kernel(): Kernel {
    return this.subject.kernel
  }

  close(): void {
    this.a.close()
    this.b.close()
    this.subject.cleanup()
  }

  /** A veth pair with one end in `a` and the other in `b`, both down. */
  readonly pair = (mtu?: number): { near: Link; far: Link } => {
    const near = this.a.applyAndRead([createVeth(this.b, 'near', 'far', mtu)], { name: 'near' })
    return { near, far: required(this.b.link({ name: 'far' })) }
  }

  /** The same, both up, and with no addresses that the kernel makes up. */
  readonly livePair = (): { near: Link; far: Link } => {
    const { near, far } = this.pair()
    this.a.apply([setUp(near.index)])
    this.b.apply([setUp(far.index)])
    return { near, far }
  }

  /** Creates a live pair; returns the index of its end in `a`. */
  get index(): number {
    return this.livePair().near.index
  }

  /** Creates a live pair whose end in `a` has the family's address; returns the index of that end. */
  readonly addressed = ({ address }: Family): number => {
    const { index } = this
    this.a.apply([addAddress(index, address)])
    return index
  }

  /** Returns the routes of a link but that of the family's prefix. */
  readonly added = (index: number, { network }: Family): string[] =>
    routesOf(this.a, index).filter((route) => !route.startsWith(formatCidr(network)))

  readonly createBridge = (name = 'br0'): Link =>
    this.a.applyAndRead([{ op: 'createBridge', name, mac: MAC.bridge }], { name })
}

/** Declares a sentence of the contract. */
export type It = (sentence: string, proof: (fixture: KernelFixture) => void) => void
export type Family = (typeof FAMILIES)[number]

export const MAC = {
  near: parseMac('02:00:00:00:00:0a'),
  far: parseMac('02:00:00:00:00:0b'),
  bridge: parseMac('02:00:00:00:00:0c'),
  other: parseMac('02:00:00:00:00:0d'),
}
/** Bits of an address's flags. Source: linux/if_addr.h. */
export const TENTATIVE = 0x40
export const DAD_FAILED = 0x08
export const PERMANENT = 0x80

/** Addresses of one family for the same sentence. */
export const FAMILIES = [
  {
    family: 'IPv4',
    address: parseCidr('10.1.0.2/24'),
    sibling: parseCidr('10.1.0.3/24'),
    host: parseCidr('10.9.0.2/32'),
    network: parseCidr('10.1.0.0/24'),
    gateway: parseAddress('10.1.0.1'),
    gateway2: parseAddress('10.1.0.7'),
    elsewhere: parseCidr('10.77.0.0/24'),
    far: parseAddress('10.77.0.9'),
    default: parseCidr('0.0.0.0/0'),
    offLink: 'ENETUNREACH',
  },
  {
    family: 'IPv6',
    address: parseCidr('fd00:1::2/64'),
    sibling: parseCidr('fd00:1::3/64'),
    host: parseCidr('fd00:9::2/128'),
    network: parseCidr('fd00:1::/64'),
    gateway: parseAddress('fd00:1::1'),
    gateway2: parseAddress('fd00:1::7'),
    elsewhere: parseCidr('fd00:77::/64'),
    far: parseAddress('fd00:77::9'),
    default: parseCidr('::/0'),
    offLink: 'EHOSTUNREACH',
  },
] as const

export function createVeth(peerNetns: Netns, name: string, peer: string, mtu?: number): Change {
  return {
    op: 'createVeth',
    host: { name, mac: MAC.near },
    peer: { name: peer, mac: MAC.far },
    peerNetns,
    ...(mtu !== undefined && { mtu }),
  }
}

/** Up, without the link-local address that would come at a moment of the kernel's choice. */
export function setUp(index: number): Change {
  return { op: 'setLink', link: { index }, up: true, ipv6LinkLocal: false }
}

export function addAddress(linkIndex: number, cidr: Route['dst']): Change {
  return { op: 'addAddress', linkIndex, cidr, noDad: true }
}

export function errnoOf(work: () => unknown): string | undefined {
  return faultOf(work).errno
}

export function required<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('there is none')
  return value
}

export function addressesOf(netns: Netns, linkIndex: number): string[] {
  return netns
    .addresses(linkIndex)
    .map(({ cidr }) => formatCidr(cidr))
    .sort()
}

/** Routes in words, sorted; what the kernel fills in by itself (scope, priority) is left out. */
export function routesOf(netns: Netns, linkIndex: number): string[] {
  return netns.routes(linkIndex).map(routeText).sort()
}

export function neighboursOf(netns: Netns, linkIndex: number, address: Address): Mac[] {
  const wanted = formatAddress(address)
  return netns
    .neighbours(linkIndex)
    .filter((one) => formatAddress(one.address) === wanted)
    .map(({ mac }) => mac)
}

/** Some things the kernel does in its own time: waits for one, at most 5 s. */
export function eventually(check: () => boolean): boolean {
  const deadline = Date.now() + 5000
  while (!check()) {
    if (Date.now() > deadline) return false
    Bun.sleepSync(5)
  }
  return true
}

function routeText({ dst, gateway, source, table = 254, mtu, advmss }: Route): string {
  return [
    formatCidr(dst),
    gateway && `via ${formatAddress(gateway)}`,
    source && `src ${formatAddress(source)}`,
    table !== 254 && `table ${table}`,
    mtu && `mtu ${mtu}`,
    advmss && `advmss ${advmss}`,
  ]
    .filter(Boolean)
    .join(' ')
}
