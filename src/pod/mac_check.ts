import { ignoreErrnos, isErrno } from '../core/errors.ts'
import { type Mac, macBytes } from '../core/mac.ts'
import { type DerivedNames, deriveNames, hostIfNameOf, ownerText } from '../core/names.ts'
import { textBytes } from '../core/text.ts'
import type { Kernel } from '../kernel/kernel.ts'
import { readString } from '../kernel/netlink/message.ts'
import type { NftChain, NftCommand, NftElementRef, NftTableRef } from '../kernel/nftables/commands.ts'
import type { Desired } from '../state/desired.ts'
import { createNft } from '../state/nft.ts'
import type { PodSpec } from './spec.ts'

/*
 * What a pod sends with another hardware address than its own is dropped where it enters the bridge:
 *   prerouting:  iifname vmap @macspoofchk        one look-up a frame, however many pods there are
 *   macspoofchk: "veth…" : goto mac-…             one element a pod
 *   mac-…:       ether saddr 02:… return; drop    one chain a pod
 * The bridge has learned nothing from a frame by then, and ARP and neighbour discovery are frames as all others are.
 * All names can be derived from who the attachment is: nothing else is needed to take them away.
 */
const TABLE: NftTableRef = { family: 'bridge', table: 'bowline' }
const MAP = 'macspoofchk'
const BASE: NftChain = {
  ...TABLE,
  chain: 'prerouting',
  // As the reference plugin has it: before any other chain that could accept or change the frame.
  hook: { type: 'filter', hook: 'prerouting', priority: -300 },
  rules: [[{ match: 'iifnameVmap', map: MAP }]],
}
const IF_NAME_BYTES = 16
const CHAIN_PREFIX = 'mac-'

type Names = Pick<DerivedNames, 'key' | 'hostIfName'>

/** The port, which is another plugin's behind another plugin, and the address that may come out of it. */
type Guarded = Pick<PodSpec, 'id' | 'hostIfName' | 'podMac'>

/** Lets pass only frames from this address out of the pod's port, which need not be there yet. Idempotent. */
export function ensureMacCheck(kernel: Kernel, guarded: Guarded): void {
  const objects = macCheckObjects(guarded)
  const own = createNft(objects.slice(1))
  try {
    kernel.nft(own)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) kernel.nft(createNft(objects))
    // The port has the name of one that is gone, whose check would drop all that this pod sends.
    else if (isErrno(error, 'EEXIST', 'EBUSY'))
      kernel.nft([{ op: 'removeElement', ...elementRef(guarded) }, ...own])
    else throw error
  }
}

/** Returns the nftables objects of the check of one pod; the first is what all checks share. */
export function macCheckObjects({ id, hostIfName, podMac }: Guarded): Desired[] {
  const names = { key: deriveNames(id).key, hostIfName }
  const chain = ownChain(names, podMac)
  const unchecked = `the MAC ${podMac} is not checked`
  return [
    {
      kind: 'nftChain',
      chain: BASE,
      base: [
        { op: 'ensureTable', ...TABLE },
        { op: 'ensureMap', ...TABLE, map: MAP, key: 'ifname' },
      ],
      otherwise: 'the rule that checks MACs is missing in table bridge bowline',
    },
    {
      kind: 'nftChain',
      chain,
      otherwise: `${unchecked}: nftables chain ${chain.chain} is missing or wrong`,
    },
    {
      kind: 'nftElement',
      element: { ...elementRef(names), goto: chain.chain, comment: ownerText(id) },
      otherwise: `${unchecked}: the nftables element of ${hostIfName}`,
    },
  ]
}

/**
 * Takes the check of one pod away. What is gone already is no error. A port that another plugin has named may have
 * passed its name on to the port of another pod, whose check stays.
 */
export function removeMacCheck(kernel: Kernel, names: Names): void {
  const chain = { ...TABLE, chain: chainName(names) }
  const isDerived = names.hostIfName === hostIfNameOf(names.key)
  const element = { ...elementRef(names), ...(!isDerived && { ofChain: chain.chain }) }
  const removeChain: NftCommand[] = [
    { op: 'flushChain', ...chain },
    { op: 'removeChain', ...chain },
  ]
  try {
    kernel.nft([{ op: 'removeElement', ...element }, ...removeChain])
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error
    // Somebody has taken one of the two away: the other one may still be there.
    ignoreErrnos(['ENOENT'], () => kernel.nft(removeChain))
    ignoreErrnos(['ENOENT'], () => kernel.nft([{ op: 'removeElement', ...element }]))
  }
}

/** All checks of the node, of whatever network. */
export function listMacChecks(kernel: Kernel): Names[] {
  return kernel.nftElements({ ...TABLE, map: MAP }).flatMap(({ key, goto }) => {
    const owner = goto.startsWith(CHAIN_PREFIX) ? goto.slice(CHAIN_PREFIX.length) : ''
    return owner ? [{ key: owner, hostIfName: readString(key) }] : []
  })
}

/** Takes away what all checks have in common, unless there is still one. */
export function removeUnusedMacFrame(kernel: Kernel): void {
  ignoreErrnos(['ENOENT', 'EBUSY'], () =>
    kernel.nft([
      { op: 'flushChain', ...TABLE, chain: BASE.chain },
      { op: 'removeChain', ...TABLE, chain: BASE.chain },
      { op: 'removeMap', ...TABLE, map: MAP },
      { op: 'removeTable', ...TABLE },
    ]),
  )
}

function ownChain(names: Names, mac: Mac): NftChain {
  return {
    ...TABLE,
    chain: chainName(names),
    rules: [[{ match: 'etherSaddr', mac: macBytes(mac) }, { verdict: 'return' }], [{ verdict: 'drop' }]],
  }
}

function chainName({ key }: Names): string {
  return `${CHAIN_PREFIX}${key}`
}

function elementRef({ hostIfName }: Pick<Names, 'hostIfName'>): NftElementRef {
  const key = new Uint8Array(IF_NAME_BYTES)
  key.set(textBytes(hostIfName))
  return { ...TABLE, map: MAP, key }
}
