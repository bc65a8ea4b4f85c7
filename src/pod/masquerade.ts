import {
  type Address,
  addressBytes,
  addressFromBytes,
  type Cidr,
  type Family,
  formatAddress,
  formatCidr,
  networkOf,
} from '../core/address.ts'
import { Code, Fault, ignoring, isErrno } from '../core/errors.ts'
import type { FileLock } from '../core/files.ts'
import { type AttachmentId, networkChainPrefix, ownerText, subnetChainName } from '../core/names.ts'
import type { Kernel } from '../kernel/kernel.ts'
import type {
  NftChain,
  NftCommand,
  NftElement,
  NftElementRef,
  NftExpression,
} from '../kernel/nftables/commands.ts'
import { compileChain, type MissingNft } from './nft_frame.ts'

/*
 * Masquerade costs a packet one map look-up, however many pods there are:
 *   postrouting: ip saddr vmap @masquerade4      (and the same for family 6)
 *   masquerade4: 10.1.0.5 : goto net-…           one element a pod address
 *   net-…:       ip daddr 10.1.0.0/24 return; ip daddr 224.0.0.0/4 return; masquerade     one chain a subnet
 * An ADD is one element, sent alone; only when the kernel misses the rest (ENOENT) is everything sent.
 * The maps are one for all networks: the name of the chain tells whose an element is, the comment for which pod.
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
/** What the kernel says of an address that has an element which goes elsewhere. */
const TAKEN = ['EEXIST', 'EBUSY']

/** The masquerading of one address, as the kernel has it. */
export type Masqueraded = {
  readonly address: Address
  /** See `subnetChainName`. */
  readonly chain: string
  /** `CONTAINER IFNAME` of the pod that it was made for. */
  readonly comment: string
}

/**
 * Asked when an address is masqueraded for another network already. Undefined: that pod may live. Else nobody has a
 * use for it any more, and nobody will work on that pod until the lock is released.
 */
export type Yield = (element: Masqueraded) => FileLock | undefined

/**
 * Masquerades what these addresses (with the prefix of their subnet) send out of their subnet. Idempotent. Throws a
 * Fault (`Code.addressInUse`) when one is masqueraded for a pod of another network that may live.
 */
export function ensureMasquerade(
  kernel: Kernel,
  id: AttachmentId,
  cidrs: readonly Cidr[],
  yields: Yield,
): void {
  try {
    kernel.nft(cidrs.map((cidr) => addElement(id, cidr)))
  } catch (error) {
    if (isErrno(error, 'ENOENT')) addWithFrame(kernel, id, cidrs, yields)
    else if (isErrno(error, ...TAKEN)) takeOver(kernel, id, cidrs, yields)
    else throw error
  }
}

/** Takes those elements of these addresses away that are the network's. What is gone already is no error. */
export function removeMasquerade(kernel: Kernel, network: string, addresses: readonly Address[]): void {
  const ofChains = networkChainPrefix(network)
  for (const address of addresses) {
    ignoring(['ENOENT'], () => kernel.nft([{ op: 'removeElement', ...elementRef(address), ofChains }]))
  }
}

/** All that is masqueraded for a network, by looking at every element of the node. */
export function listMasquerade(kernel: Kernel, network: string): Masqueraded[] {
  return listElements(kernel).filter(({ chain }) => chain.startsWith(networkChainPrefix(network)))
}

/**
 * Takes away what is masqueraded for an attachment of which nothing is written, by looking at every element. A comment that
 * was cut may be another pod's: that element is left to GC. So may be one that was there already when another pod got the
 * address, which `isClaimed` tells.
 */
export function removeUnrecordedMasquerade(
  kernel: Kernel,
  id: AttachmentId,
  isClaimed: (address: Address) => boolean,
): void {
  if (commentOf(id) !== ownerText(id)) return
  const own = listMasquerade(kernel, id.network).filter(
    ({ comment, address }) => comment === commentOf(id) && !isClaimed(address),
  )
  removeMasquerade(
    kernel,
    id.network,
    own.map(({ address }) => address),
  )
}

/** Takes away what no pod uses any more: of these chains, and the table when nothing else is in it. */
export function removeUnusedFrame(kernel: Kernel, chains: readonly string[]): void {
  for (const chain of new Set(chains)) {
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

/** What of the masquerading of these addresses is missing, in the order in which it has to be made. */
export function missingMasquerade(kernel: Kernel, id: AttachmentId, cidrs: readonly Cidr[]): MissingNft[] {
  const ofChains = networkChainPrefix(id.network)
  const chains = new Map(cidrs.map((cidr) => [formatCidr(networkOf(cidr)), subnetChain(id.network, cidr)]))
  return [
    ...(kernel.hasNftChain(BASE)
      ? []
      : [
          {
            what: 'the rules that masquerade pods are missing in table inet bowline',
            commands: compileBase(),
          },
        ]),
    ...[...chains]
      .filter(([, chain]) => !kernel.hasNftChain(chain))
      .map(([subnet, chain]) => ({
        what: `the rules that masquerade ${subnet} are missing in nftables chain ${chain.chain}`,
        commands: compileChain(chain),
      })),
    ...cidrs
      .filter((cidr) => !kernel.hasNftElement({ ...elementRef(cidr.address), ofChains }))
      .map((cidr) => missingElement(kernel, id, cidr)),
  ]
}

/** What another network has with this address can't be added beside, and is not ours to take away. */
function missingElement(kernel: Kernel, id: AttachmentId, cidr: Cidr): MissingNft {
  const isOfAnother = kernel.hasNftElement(elementRef(cidr.address))
  const why = isOfAnother ? 'belongs to another network' : 'is missing'
  return {
    what: `${formatAddress(cidr.address)} is not masqueraded: its nftables element ${why}`,
    commands: isOfAnother ? [] : [addElement(id, cidr)],
  }
}

function compileFrame(network: string, cidrs: readonly Cidr[]): NftCommand[] {
  return [...compileBase(), ...cidrs.flatMap((cidr) => compileChain(subnetChain(network, cidr)))]
}

/** What all networks have in common. */
function compileBase(): NftCommand[] {
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

function addWithFrame(kernel: Kernel, id: AttachmentId, cidrs: readonly Cidr[], yields: Yield): void {
  try {
    kernel.nft([...compileFrame(id.network, cidrs), ...cidrs.map((cidr) => addElement(id, cidr))])
  } catch (error) {
    if (!isErrno(error, ...TAKEN)) throw error
    takeOver(kernel, id, cidrs, yields)
  }
}

/**
 * An element that points elsewhere: of our own network it is left by an attachment that is gone, for a network gives
 * an address once. Of another network it may be a live pod's. Out with it and in with ours, in one transaction.
 */
function takeOver(kernel: Kernel, id: AttachmentId, cidrs: readonly Cidr[], yields: Yield): void {
  const wanted = new Set(cidrs.map(({ address }) => formatAddress(address)))
  const present = listElements(kernel).filter(({ address }) => wanted.has(formatAddress(address)))
  const locks: FileLock[] = []
  try {
    for (const element of present.filter(({ chain }) => !chain.startsWith(networkChainPrefix(id.network)))) {
      const lock = yields(element)
      if (!lock) throw foreignElement(element)
      locks.push(lock)
    }
    kernel.nft([
      ...compileFrame(id.network, cidrs),
      ...present.map(({ address }): NftCommand => ({ op: 'removeElement', ...elementRef(address) })),
      ...cidrs.map((cidr) => addElement(id, cidr)),
    ])
  } finally {
    for (const lock of locks) lock.release()
  }
}

function foreignElement({ address, chain, comment }: Masqueraded): Fault {
  const text = formatAddress(address)
  return new Fault(
    `${text} is masqueraded for ${comment || 'a pod'} of another network of this node (nftables chain ${chain})`,
    {
      code: Code.addressInUse,
      cure: 'Give each network a subnet of its own, or call GC for the other network if its pods are gone.',
    },
  )
}

function listElements(kernel: Kernel): Masqueraded[] {
  const elements = FAMILIES.flatMap((family) => kernel.nftElements({ table: TABLE, map: MAPS[family] }))
  return elements.map(({ key, goto, comment = '' }: NftElement) => ({
    address: addressFromBytes(key),
    chain: goto,
    comment,
  }))
}

function commentOf(id: AttachmentId): string {
  return ownerText(id).slice(0, 120)
}

function addElement(id: AttachmentId, cidr: Cidr): NftCommand {
  return {
    op: 'addElement',
    ...elementRef(cidr.address),
    goto: subnetChainName(id.network, networkOf(cidr)),
    comment: commentOf(id),
  }
}

function elementRef(address: Address): NftElementRef {
  return { table: TABLE, map: MAPS[address.family], key: addressBytes(address) }
}

function daddr({ address, prefix }: Cidr): NftExpression {
  return { match: 'daddr', family: address.family, address: addressBytes(address), prefix }
}
