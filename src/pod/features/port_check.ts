import type { AttachmentRecord } from '../../attachment/record.ts'
import { allFiles } from '../../attachment/store.ts'
import { throwCollected } from '../../attachment/teardown.ts'
import type { NetworkConfig } from '../../cni/config.ts'
import { hostCidr, parseAddress, parseCidr } from '../../core/address.ts'
import { Code, collectFaults, Fault, ignoreErrnos, isErrno, withAction } from '../../core/errors.ts'
import { parseMac } from '../../core/mac.ts'
import { type DerivedNames, deriveNames, hostIfNameOf, ownerText } from '../../core/names.ts'
import type { Kernel, Netns } from '../../kernel/kernel.ts'
import { ifname } from '../../kernel/nftables/datatypes.ts'
import { vmap } from '../../kernel/nftables/expressions/lookup.ts'
import { iifname } from '../../kernel/nftables/expressions/meta.ts'
import {
  type NftChain,
  type NftCommand,
  type NftElement,
  type NftRule,
  type NftSet,
  removeChain,
  removeElements,
} from '../../kernel/nftables/objects.ts'
import { type NftVerdict, targetOf, verdict } from '../../kernel/nftables/verdict.ts'
import type { Desired } from '../../state/desired.ts'
import { createNft } from '../../state/nft.ts'
import { BRIDGE_TABLE } from '../../state/own_table.ts'
import type { PodSpec } from '../spec.ts'
import type { NodePorts, PodFeature } from './feature.ts'
import { assertNftables, removeFrame } from './nftables.ts'
import { lossesAmong, restoreEach } from './restore.ts'

/*
 * Drops what a pod sends from an address that is not its own, where it enters the bridge:
 *   prerouting:  iifname vmap @macspoofchk        one look-up a frame, however many pods there are
 *   macspoofchk: "veth…" : goto mac-…             one element a pod
 *   mac-…:       ether saddr 02:… return; drop    a chain or two a pod
 * The bridge has learned nothing from a frame by then. All names are derived from the attachment, so the removal needs
 * nothing else.
 */

/** What is checked of the frames that come out of a pod's port. */
export type PortCheck = {
  /** The key of the config, and the name of the map. */
  readonly key: 'macspoofchk' | 'ipspoofchk'
  readonly base: { readonly name: string; readonly priority: number }
  /** Of the names of chains. Each is the prefix of one pod's chain, the last one of that which the map leads to. */
  readonly prefixes: readonly string[]
  /** Returns the rules of a pod's chains, in the order of their prefixes. `names` are those of the chains. */
  rules(guarded: Guarded, names: readonly string[]): readonly (readonly NftRule[])[]
  /** What an ADD does for it, and what several of them are. */
  readonly words: { readonly action: string; readonly all: string; readonly base: string }
  /** Decides whether the rules can be made: of a record without addresses they may be another plugin's. */
  isKnown(guarded: Guarded): boolean
  /** Says what is not checked. */
  unchecked(guarded: Guarded): string
}

type Names = Pick<DerivedNames, 'key' | 'hostIfName'>

/** The port, which a chained call has from another plugin, and the addresses that may come out of it. */
export type Guarded = Pick<PodSpec, 'id' | 'hostIfName' | 'podMac' | 'ips'>

/**
 * Checks what a pod sends. Made before the link is there or on the bridge, and removed after it is gone: at no time can the pod
 * send unchecked.
 */
export function checkPorts(check: PortCheck, node: NodePorts): PodFeature {
  const { kernel, store, locks } = node
  const { key: option, words } = check
  const isOn = ({ mode, config }: PodSpec): boolean => mode !== 'l3' && config[option] === true
  /** Returns the keys of all records of this node, damaged ones too. */
  const allKeys = (): Set<string> => new Set(allFiles(store).map(({ key }) => key))
  return {
    remember: (config) => (isOnBridge(config) && config[option] ? { [option]: true } : {}),
    beforeLink(spec, undo) {
      if (!isOn(spec)) return
      if (spec.mode === 'chained') assertBridgePort(kernel.host(), spec.hostIfName, option)
      const names = { key: deriveNames(spec.id).key, hostIfName: spec.hostIfName }
      undo.push(() => removeCheck(kernel, check, names))
      withAction(words.action, () => ensureCheck(kernel, check, spec))
    },
    nodeObjects: (spec) => (isOn(spec) ? checkObjects(check, spec) : []),
    remove(id, record) {
      if (record && !isChecked(record, option)) return
      const { key, hostIfName } = deriveNames(id)
      removeCheck(kernel, check, { key, hostIfName: record?.hostIfName ?? hostIfName })
    },
    removeShared(_, record) {
      if (!record || isChecked(record, option)) removeUnusedFrame(kernel, check)
    },
    /**
     * A check does not say whose it is: it is an orphan if no record of any network knows it, and its link is gone. For as
     * long as the link is there, its pod could send unchecked.
     */
    removeOrphans(network) {
      const checks = listChecks(kernel, check)
      // Read after the checks: an ADD writes its record first.
      const known = allKeys()
      const orphans = checks.filter(
        ({ key, hostIfName }) => !known.has(key) && kernel.host().link({ name: hostIfName }) === undefined,
      )
      const faults = collectFaults(
        orphans.map((names) => () => {
          locks.whenIdle(names.key, () => {
            if (!allKeys().has(names.key)) removeCheck(kernel, check, names)
          })
        }),
      )
      throwCollected(faults, `${words.all} of network ${network}`, 'GC')
      if (checks.length === orphans.length) removeUnusedFrame(kernel, check)
    },
    restore: () =>
      restoreEach(node, (record) => {
        const guarded = isChecked(record, option) && recordedPort(record)
        return guarded && check.isKnown(guarded)
          ? lossesAmong(kernel, checkObjects(check, guarded))
          : undefined
      }),
    precheck(config) {
      if (isOnBridge(config) && config[option]) assertNftables(kernel, option)
    },
  }
}

function isOnBridge({ mode }: NetworkConfig): boolean {
  return mode !== 'l3'
}

/** What comes by any other link never meets the rules: it would seem to be checked. */
function assertBridgePort(host: Netns, name: string, key: PortCheck['key']): void {
  const master = host.link({ name })?.master
  if (master !== undefined && host.link({ index: master })?.kind === 'bridge') return
  throw new Fault(`key "${key}": true checks ports of bridges, and ${name} is none`, {
    code: Code.invalidConfig,
    hint: `Remove "${key}", or put this plugin behind one that makes a bridge.`,
  })
}

function isChecked(record: AttachmentRecord, option: PortCheck['key']): boolean {
  return record.mode !== 'l3' && record[option] === true
}

/**
 * Returns the port of a recorded attachment. Undefined where another plugin has made the interface, whose MAC only the pod's namespace
 * shows. The addresses are those that are recorded: none if another plugin has given them and nobody masquerades them.
 */
function recordedPort(record: AttachmentRecord): Guarded | undefined {
  const { hostIfName, podMac, chained, mode, leases, masquerade = [] } = record
  if (!hostIfName || chained || mode !== 'l2') return undefined
  const addresses = leases?.addresses.map(parseAddress) ?? masquerade.map((text) => parseCidr(text).address)
  return {
    id: record,
    hostIfName,
    podMac: podMac === undefined ? deriveNames(record).podMac : parseMac(podMac),
    ips: addresses.map((address) => ({ cidr: hostCidr(address) })),
  }
}

/** Lets only what passes the check out of the pod's port. The port need not be there yet. Idempotent. */
function ensureCheck({ nftables }: Kernel, check: PortCheck, guarded: Guarded): void {
  const objects = checkObjects(check, guarded)
  const own = createNft(objects.slice(1))
  try {
    nftables.apply(own)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) nftables.apply(createNft(objects))
    // The port has the name of one that is gone, whose check would drop all that this pod sends.
    else if (isErrno(error, 'EEXIST', 'EBUSY'))
      nftables.apply([removeElements(mapOf(check), { key: guarded.hostIfName }), ...own])
    else throw error
  }
}

/** Returns the nftables objects of the check of one pod; the first is what all checks share. */
function checkObjects(check: PortCheck, guarded: Guarded): Desired[] {
  const names = { key: deriveNames(guarded.id).key, hostIfName: guarded.hostIfName }
  const chains = chainNames(check, names)
  const unchecked = check.unchecked(guarded)
  const map = mapOf(check)
  return [
    {
      kind: 'nftChain',
      chain: baseOf(check),
      base: [
        { op: 'ensureTable', table: BRIDGE_TABLE },
        { op: 'ensureSet', set: map },
      ],
      otherwise: check.words.base,
    },
    ...check.rules(guarded, chains).map((rules, i): Desired => {
      const name = chains[i] ?? ''
      const otherwise = `${unchecked}: nftables chain ${name} is missing or wrong`
      return { kind: 'nftChain', chain: { table: BRIDGE_TABLE, name, rules }, otherwise }
    }),
    {
      kind: 'nftElement',
      set: map,
      element: { ...elementOf(check, names), comment: ownerText(guarded.id) },
      otherwise: `${unchecked}: the nftables element of ${guarded.hostIfName}`,
    },
  ]
}

/**
 * Removes the check of one pod. What is gone already is no error. A port that another plugin has named may have passed its
 * name on to the port of another pod: the check of that pod stays.
 */
function removeCheck({ nftables }: Kernel, check: PortCheck, names: Names): void {
  const map = mapOf(check)
  const { key, data } = elementOf(check, names)
  const isDerived = names.hostIfName === hostIfNameOf(names.key)
  const element = removeElements(map, isDerived ? { key } : { key, data })
  // What leads to a chain goes before it.
  const chains = chainNames(check, names)
    .toReversed()
    .map((name) => removeChain({ table: BRIDGE_TABLE, name }))
  try {
    nftables.apply([element, ...chains.flat()])
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error
    // One of them is gone: the others may still be there.
    for (const chain of chains) ignoreErrnos(['ENOENT'], () => nftables.apply(chain))
    ignoreErrnos(['ENOENT'], () => nftables.apply([element]))
  }
}

/** Returns the owners of all checks of a kind on the node, of whatever network. */
export function listChecks({ nftables }: Kernel, check: PortCheck): Names[] {
  const prefix = check.prefixes.at(-1) ?? ''
  return nftables.elements(mapOf(check)).flatMap(({ key, data }) => {
    const chain = (data && targetOf(data)) ?? ''
    return chain.startsWith(prefix) && chain !== prefix
      ? [{ key: chain.slice(prefix.length), hostIfName: key }]
      : []
  })
}

/** Removes what all checks of a kind have in common, unless there is still one; and the table, unless another kind is in it. */
function removeUnusedFrame(kernel: Kernel, check: PortCheck): void {
  const frame: NftCommand[] = [...removeChain(baseOf(check)), { op: 'removeSet', set: mapOf(check) }]
  removeFrame(kernel, BRIDGE_TABLE, frame)
}

function mapOf({ key }: PortCheck): NftSet<string, NftVerdict> {
  return { table: BRIDGE_TABLE, name: key, key: ifname, data: verdict }
}

function baseOf(check: PortCheck): NftChain {
  const { name, priority } = check.base
  const hook = { type: 'filter', hook: 'prerouting', priority } as const
  return { table: BRIDGE_TABLE, name, hook, rules: [[vmap(iifname, mapOf(check))]] }
}

function chainNames({ prefixes }: PortCheck, { key }: Names): string[] {
  return prefixes.map((prefix) => `${prefix}${key}`)
}

function elementOf(check: PortCheck, names: Names): NftElement<string, NftVerdict> {
  return { key: names.hostIfName, data: { goto: chainNames(check, names).at(-1) ?? '' } }
}
