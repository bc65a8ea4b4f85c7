import { addressBytes, type Cidr, type Family, networkOf } from '../core/address.ts'
import { ignoring, isErrno } from '../core/errors.ts'
import { type AttachmentId, subnetChainName } from '../core/names.ts'
import type { Kernel } from '../kernel/kernel.ts'
import type { NftChain, NftCommand, NftElementRef, NftExpression } from '../kernel/nftables/commands.ts'
import { compileChain } from './nft_frame.ts'

/*
 * Masquerade costs a packet one map look-up, however many pods there are:
 *   postrouting: ip saddr vmap @masquerade4      (and the same for family 6)
 *   masquerade4: 10.1.0.5 : goto net-…           one element a pod address
 *   net-…:       ip daddr 10.1.0.0/24 return; ip daddr 224.0.0.0/4 return; masquerade     one chain a subnet
 * An ADD is one element, sent alone; only when the kernel misses the rest (ENOENT) is everything sent.
 */
const TABLE = 'bowline'
const SOURCE_NAT = 100
const FAMILIES: readonly Family[] = [4, 6]
const MAPS = { 4: 'masquerade4', 6: 'masquerade6' }
const BASE: NftChain = {
  table: TABLE,
  chain: 'postrouting',
  hook: { type: 'nat', hook: 'postrouting', priority: SOURCE_NAT },
  rules: FAMILIES.map((family) => [{ match: 'saddrVmap', family, map: MAPS[family] }]),
}
/** 224.0.0.0/4 and ff00::/8. Not parsed: that would cost every call of the plugin, also one without masquerading. */
const MULTICAST: Record<Family, Cidr> = {
  4: { address: { family: 4, value: 0xe0n << 24n }, prefix: 4 },
  6: { address: { family: 6, value: 0xffn << 120n }, prefix: 8 },
}

/** Masquerades what these addresses (with the prefix of their subnet) send out of their subnet. Idempotent. */
export function ensureMasquerade(kernel: Kernel, id: AttachmentId, cidrs: readonly Cidr[]): void {
  const elements = cidrs.map((cidr) => addElement(id, cidr))
  try {
    kernel.nft(elements)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) kernel.nft([...compileFrame(id.network, cidrs), ...elements])
    else if (isErrno(error, 'EEXIST', 'EBUSY')) replaceElements(kernel, id, cidrs)
    else throw error
  }
}

/** Takes the elements of these addresses away. What is gone already is no error. */
export function removeMasquerade(kernel: Kernel, cidrs: readonly Cidr[]): void {
  for (const cidr of cidrs) {
    ignoring(['ENOENT'], () => kernel.nft([{ op: 'removeElement', ...elementRef(cidr) }]))
  }
}

/** Takes away what no pod uses any more: the chains of these subnets, and the table when nothing else is in it. */
export function removeUnusedFrame(kernel: Kernel, network: string, cidrs: readonly Cidr[]): void {
  for (const chain of chainNames(network, cidrs)) {
    ignoring(['ENOENT', 'EBUSY'], () =>
      kernel.nft([
        { op: 'flushChain', table: TABLE, chain },
        { op: 'removeChain', table: TABLE, chain },
      ]),
    )
  }
  ignoring(['ENOENT', 'EBUSY'], () =>
    kernel.nft([
      { op: 'flushChain', table: TABLE, chain: BASE.chain },
      { op: 'removeChain', table: TABLE, chain: BASE.chain },
      ...FAMILIES.map((family): NftCommand => ({ op: 'removeMap', table: TABLE, map: MAPS[family] })),
      { op: 'removeTable', table: TABLE },
    ]),
  )
}

/** The addresses of `cidrs` that have no masquerade element. */
export function missingMasquerade(kernel: Kernel, cidrs: readonly Cidr[]): Cidr[] {
  return cidrs.filter((cidr) => !kernel.hasNftElement(elementRef(cidr)))
}

function compileFrame(network: string, cidrs: readonly Cidr[]): NftCommand[] {
  return [
    { op: 'ensureTable', table: TABLE },
    ...FAMILIES.map(
      (family): NftCommand => ({
        op: 'ensureMap',
        table: TABLE,
        map: MAPS[family],
        key: family === 4 ? 'ipv4_addr' : 'ipv6_addr',
      }),
    ),
    ...cidrs.flatMap((cidr) => compileChain(subnetChain(network, cidr))),
    ...compileChain(BASE),
  ]
}

/** What leaves a subnet. What stays in it, and multicast, keeps its source. */
function subnetChain(network: string, cidr: Cidr): NftChain {
  return {
    table: TABLE,
    chain: subnetChainName(network, networkOf(cidr)),
    rules: [
      [daddr(networkOf(cidr)), { verdict: 'return' }],
      [daddr(MULTICAST[cidr.address.family]), { verdict: 'return' }],
      [{ verdict: 'masquerade' }],
    ],
  }
}

/** A killed ADD may have left an element that points elsewhere: out with it and in with ours, in one transaction. */
function replaceElements(kernel: Kernel, id: AttachmentId, cidrs: readonly Cidr[]): void {
  const present = cidrs.filter((cidr) => kernel.hasNftElement(elementRef(cidr)))
  kernel.nft([
    ...compileFrame(id.network, cidrs),
    ...present.map((cidr): NftCommand => ({ op: 'removeElement', ...elementRef(cidr) })),
    ...cidrs.map((cidr) => addElement(id, cidr)),
  ])
}

function addElement(id: AttachmentId, cidr: Cidr): NftCommand {
  return {
    op: 'addElement',
    ...elementRef(cidr),
    goto: subnetChainName(id.network, networkOf(cidr)),
    comment: `${id.containerId} ${id.ifName}`.slice(0, 120),
  }
}

function elementRef({ address }: Cidr): NftElementRef {
  return { table: TABLE, map: MAPS[address.family], key: addressBytes(address) }
}

function chainNames(network: string, cidrs: readonly Cidr[]): string[] {
  return [...new Set(cidrs.map((cidr) => subnetChainName(network, networkOf(cidr))))]
}

function daddr({ address, prefix }: Cidr): NftExpression {
  return { match: 'daddr', family: address.family, address: addressBytes(address), prefix }
}
