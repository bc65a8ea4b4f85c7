import { throwCollected } from '../../attachment/teardown.ts'
import { collectFaults, ignoreErrnos, isErrno, withAction } from '../../core/errors.ts'
import type { Mac } from '../../core/mac.ts'
import { type DerivedNames, deriveNames, hostIfNameOf, ownerText } from '../../core/names.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import { ifname } from '../../kernel/nftables/datatypes.ts'
import { vmap } from '../../kernel/nftables/expressions/lookup.ts'
import { equals } from '../../kernel/nftables/expressions/match.ts'
import { iifname } from '../../kernel/nftables/expressions/meta.ts'
import { etherSaddr } from '../../kernel/nftables/expressions/payload.ts'
import { back, drop } from '../../kernel/nftables/expressions/verdicts.ts'
import {
  type NftChain,
  type NftElement,
  type NftSet,
  type NftTable,
  removeChain,
  removeElements,
} from '../../kernel/nftables/objects.ts'
import { type NftVerdict, targetOf, verdict } from '../../kernel/nftables/verdict.ts'
import type { Desired } from '../../state/desired.ts'
import { createNft } from '../../state/nft.ts'
import type { PodSpec } from '../spec.ts'
import type { NodePorts, PodFeature } from './feature.ts'
import { assertNftables } from './nftables.ts'

/*
 * Drops what a pod sends with another hardware address than its own, where it enters the bridge:
 *   prerouting:  iifname vmap @macspoofchk        one look-up a frame, however many pods there are
 *   macspoofchk: "veth…" : goto mac-…             one element a pod
 *   mac-…:       ether saddr 02:… return; drop    one chain a pod
 * The bridge has learned nothing from a frame by then, and ARP and neighbour discovery are frames as all others are.
 * All names are derived from the attachment, so the removal needs nothing else.
 */
const TABLE: NftTable = { family: 'bridge', name: 'bowline' }
const MAP: NftSet<string, NftVerdict> = { table: TABLE, name: 'macspoofchk', key: ifname, data: verdict }
const BASE: NftChain = {
  table: TABLE,
  name: 'prerouting',
  // As the reference plugin has it: before any other chain that could accept or change the frame.
  hook: { type: 'filter', hook: 'prerouting', priority: -300 },
  rules: [[vmap(iifname, MAP)]],
}
const CHAIN_PREFIX = 'mac-'

type Names = Pick<DerivedNames, 'key' | 'hostIfName'>

/** The port, which a chained call has from another plugin, and the address that may come out of it. */
type Guarded = Pick<PodSpec, 'id' | 'hostIfName' | 'podMac'>

/**
 * Drops what a pod sends with another hardware address than its own. Made before the link is there or on the bridge, and
 * removed after it is gone: at no time can the pod send unchecked.
 */
export function macCheck({ kernel, store, locks }: NodePorts): PodFeature {
  /** Returns the keys of all records of this node, damaged ones too. */
  const allKeys = (): Set<string> =>
    new Set(store.networks().flatMap((name) => store.readFiles(name).map(({ key }) => key)))
  return {
    remember: ({ macspoofchk }) => (macspoofchk ? { macspoofchk } : {}),
    beforeLink(spec, undo) {
      if (!isOn(spec)) return
      const names = { key: deriveNames(spec.id).key, hostIfName: spec.hostIfName }
      undo.push(() => removeMacCheck(kernel, names))
      withAction('check the hardware address of what the pod sends', () => ensureMacCheck(kernel, spec))
    },
    nodeObjects: (spec) => (isOn(spec) ? macCheckObjects(spec) : []),
    remove(id, record) {
      if (record && !record.macspoofchk) return
      const { key, hostIfName } = deriveNames(id)
      removeMacCheck(kernel, { key, hostIfName: record?.hostIfName ?? hostIfName })
    },
    removeShared(_, record) {
      if (!record || record.macspoofchk) removeUnusedMacFrame(kernel)
    },
    /**
     * A check does not say whose it is: it is an orphan if no record of any network knows it, and its link is gone. For as
     * long as the link is there, its pod could send unchecked.
     */
    removeOrphans(network) {
      const checks = listMacChecks(kernel)
      // Read after the checks: an ADD writes its record first.
      const known = allKeys()
      const orphans = checks.filter(
        ({ key, hostIfName }) => !known.has(key) && kernel.host().link({ name: hostIfName }) === undefined,
      )
      const faults = collectFaults(
        orphans.map((names) => () => {
          locks.whenIdle(names.key, () => {
            if (!allKeys().has(names.key)) removeMacCheck(kernel, names)
          })
        }),
      )
      throwCollected(faults, `checks of hardware addresses of network ${network}`, 'GC')
      if (checks.length === orphans.length) removeUnusedMacFrame(kernel)
    },
    precheck({ macspoofchk }) {
      if (macspoofchk) assertNftables(kernel, 'macspoofchk')
    },
  }
}

function isOn({ mode, config }: PodSpec): boolean {
  return mode !== 'l3' && config.macspoofchk === true
}

/** Lets only frames from this address out of the pod's port. The port need not be there yet. Idempotent. */
function ensureMacCheck({ nftables }: Kernel, guarded: Guarded): void {
  const objects = macCheckObjects(guarded)
  const own = createNft(objects.slice(1))
  try {
    nftables.apply(own)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) nftables.apply(createNft(objects))
    // The port has the name of one that is gone, whose check would drop all that this pod sends.
    else if (isErrno(error, 'EEXIST', 'EBUSY'))
      nftables.apply([removeElements(MAP, { key: guarded.hostIfName }), ...own])
    else throw error
  }
}

/** Returns the nftables objects of the check of one pod; the first is what all checks share. */
function macCheckObjects({ id, hostIfName, podMac }: Guarded): Desired[] {
  const names = { key: deriveNames(id).key, hostIfName }
  const chain = ownChain(names, podMac)
  const unchecked = `the MAC ${podMac} is not checked`
  return [
    {
      kind: 'nftChain',
      chain: BASE,
      base: [
        { op: 'ensureTable', table: TABLE },
        { op: 'ensureSet', set: MAP },
      ],
      otherwise: 'the rule that checks MACs is missing in table bridge bowline',
    },
    { kind: 'nftChain', chain, otherwise: `${unchecked}: nftables chain ${chain.name} is missing or wrong` },
    {
      kind: 'nftElement',
      set: MAP,
      element: { ...elementOf(names), comment: ownerText(id) },
      otherwise: `${unchecked}: the nftables element of ${hostIfName}`,
    },
  ]
}

/**
 * Removes the check of one pod. What is gone already is no error. A port that another plugin has named may have passed its
 * name on to the port of another pod: the check of that pod stays.
 */
function removeMacCheck({ nftables }: Kernel, names: Names): void {
  const { key, data } = elementOf(names)
  const isDerived = names.hostIfName === hostIfNameOf(names.key)
  const element = removeElements(MAP, isDerived ? { key } : { key, data })
  const chain = removeChain({ table: TABLE, name: chainName(names) })
  try {
    nftables.apply([element, ...chain])
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error
    // One of the two is gone: the other one may still be there.
    ignoreErrnos(['ENOENT'], () => nftables.apply(chain))
    ignoreErrnos(['ENOENT'], () => nftables.apply([element]))
  }
}

/** Returns the owners of all checks on the node, of whatever network. */
export function listMacChecks({ nftables }: Kernel): Names[] {
  return nftables.elements(MAP).flatMap(({ key, data }) => {
    const chain = (data && targetOf(data)) ?? ''
    return chain.startsWith(CHAIN_PREFIX) && chain !== CHAIN_PREFIX
      ? [{ key: chain.slice(CHAIN_PREFIX.length), hostIfName: key }]
      : []
  })
}

/** Removes what all checks have in common, unless there is still one. */
function removeUnusedMacFrame({ nftables }: Kernel): void {
  ignoreErrnos(['ENOENT', 'EBUSY'], () =>
    nftables.apply([
      ...removeChain(BASE),
      { op: 'removeSet', set: MAP },
      { op: 'removeTable', table: TABLE },
    ]),
  )
}

function ownChain(names: Names, mac: Mac): NftChain {
  return { table: TABLE, name: chainName(names), rules: [[equals(etherSaddr, mac), back], [drop]] }
}

function chainName({ key }: Names): string {
  return `${CHAIN_PREFIX}${key}`
}

function elementOf(names: Names): NftElement<string, NftVerdict> {
  return { key: names.hostIfName, data: { goto: chainName(names) } }
}
