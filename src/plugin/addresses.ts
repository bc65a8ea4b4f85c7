import { assertNextHops, type PoolUse, planRanges } from '../../ipam/config.ts'
import type { Lease, Pool } from '../../ipam/pool.ts'
import type { RangeSet } from '../../ipam/range_set.ts'
import { parseResolvConf } from '../../ipam/resolv_conf.ts'
import type { AttachmentRecord } from '../attachment/record.ts'
import { type AttachmentPorts, forget } from '../attachment/teardown.ts'
import type { NetworkConfig } from '../cni/config.ts'
import { findPlugin, hasNotStarted, type PluginRunner, RESULT_HINT } from '../cni/delegate.ts'
import { parsePrinted } from '../cni/parse_result.ts'
import { assertSetsPrintable, printRoute } from '../cni/print_result.ts'
import type { CniDns } from '../cni/result.ts'
import { runtimeArgsOf } from '../cni/runtime_args.ts'
import {
  type Address,
  type Cidr,
  formatAddress,
  hostCidr,
  parseAddress,
  parseCidr,
  sameAddress,
} from '../core/address.ts'
import { Code, Fault } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import type { UndoStack } from '../core/undo.ts'
import type { Netns } from '../kernel/kernel.ts'
import { remembered } from '../pod/features/feature.ts'
import { assertGateways, assertPodAddresses } from '../pod/next_hop.ts'
import {
  lookupRoutes,
  nodeAddressesAmong,
  ownAddressFault,
  ownPrefix,
  type RouteLookup,
} from '../pod/route_lookup.ts'
import { routerFault, routersAmong, uplinkProbes } from '../pod/routers.ts'
import type { PodIp, PodRoute } from '../pod/spec.ts'
import type { Ports } from './ports.ts'
import { attachmentIdOf, delegateOf, OWN_IPAM, type Request, runDelegate } from './request.ts'

/** The addresses and routes that IPAM gave, and the record that has them. */
export type Acquired = {
  readonly ips: readonly PodIp[]
  readonly routes: readonly PodRoute[]
  readonly dns?: CniDns
  readonly record: AttachmentRecord
  /** The FIB entries for the addresses and their gateways, before anything was changed. */
  readonly lookup: RouteLookup
}

/**
 * Gets the pod its addresses and writes the record before anything else is changed. The undo stack gets the reverse
 * of both. `before` are the addresses that a killed ADD of this attachment held: it gets them again.
 */
export function acquireAddresses(
  request: Request,
  ports: Ports,
  record: AttachmentRecord,
  before: readonly string[] | undefined,
  undo: UndoStack,
): Acquired {
  const type = delegateOf(request.config)
  if (type) return acquireFromDelegate(request, ports, { ...record, delegate: type }, type, undo)
  if (request.config.ipam?.type === OWN_IPAM) return acquireFromPool(request, ports, record, before, undo)
  return { ips: [], routes: [], record: writeRecord(ports, record, undo), lookup: () => undefined }
}

/**
 * Returns the range sets of a network. Throws a Fault (code 7) for more of them than the version has room for addresses, and for
 * a route whose next hop is no host.
 */
export function planSets({ ipam = {}, runtimeConfig, cniVersion }: NetworkConfig, use: PoolUse): RangeSet[] {
  const sets = planRanges(ipam, runtimeConfig?.ipRanges, use)
  assertNextHops(ipam.routes, sets)
  assertSetsPrintable(
    sets.map(({ family }) => family),
    cniVersion,
  )
  return sets
}

/** Returns who is to use the addresses: without a mode it is another plugin, which has called us for its IPAM. */
export function poolUseOf({ mode }: Pick<AttachmentRecord, 'mode'>): PoolUse {
  return mode ? POOL_USE[mode] : 'unknown'
}

const POOL_USE = { l2: 'bridged', l3: 'routed', chained: 'unknown' } as const

function acquireFromPool(
  request: Request,
  ports: Pick<Ports, 'kernel' | 'store' | 'files' | 'pools' | 'features'>,
  record: AttachmentRecord,
  before: readonly string[] = [],
  undo: UndoStack,
): Acquired {
  const { config, invocation } = request
  const ipam = config.ipam ?? {}
  const sets = planSets(config, poolUseOf(record))
  const requested = runtimeArgsOf(invocation, config).ips
  const dns = ipam.resolvConf ? parseResolvConf(readResolvConf(ports.files, ipam.resolvConf)) : undefined
  const { kernel, pools } = ports
  const dataDir = pools.dirOf(ipam.dataDir)
  return pools.hold(config.name, dataDir, 'lease', (pool) => {
    const choice = { sets, requested, before: before.map(parseAddress) }
    const { leases, lookup } = chooseUsable(request, kernel.host(), pool, choice)
    const addresses = leases.map(({ address }) => formatAddress(address.address))
    const ofFeatures = record.mode
      ? remembered(
          ports.features,
          config,
          leases.map(({ address }) => address),
        )
      : {}
    const written = writeRecord(ports, { ...record, leases: { dataDir, addresses }, ...ofFeatures }, undo)
    const owner = attachmentIdOf(request)
    // Not while the link is there that has the addresses.
    undo.pushForgetting(() => pools.release(written))
    pool.take(owner, leases)
    const ips = leases.map(({ address, gateway }) => ({ cidr: address, ...(gateway && { gateway }) }))
    return { ips, routes: ipam.routes ?? [], ...(dns && { dns }), record: written, lookup }
  })
}

/** Each round takes at least one address of the node out of the choice. */
const MAX_ROUNDS = 1000

/** The range sets, the addresses that were asked for, and those that a killed ADD held. */
type LeaseChoice = {
  readonly sets: readonly RangeSet[]
  readonly requested: readonly Address[]
  readonly before: readonly Address[]
}

/**
 * Chooses leases of which no address is the node's own, or a router's. Passes over such an address; throws a Fault
 * (`Code.addressInUse`) for one that was asked for by name. One round trip to the kernel, and one more for each address
 * that was passed over.
 */
function chooseUsable(
  request: Request,
  host: Netns,
  pool: Pool,
  choice: LeaseChoice,
): { leases: Lease[]; lookup: RouteLookup } {
  const avoided: Cidr[] = []
  for (let round = 1; ; round++) {
    const leases = chooseLeases(pool, choice, avoided)
    const addresses = leases.map(({ address }) => address.address)
    const lookup = lookupRoutes(host, [...addresses, ...alsoAsked(request, leases, addresses)])
    const unusable = unusableOnes(host, addresses, lookup)
    if (unusable.length === 0) return { leases, lookup }
    for (const { address, prefix, fault } of unusable) {
      const isWish = choice.requested.some((one) => sameAddress(one, address))
      if (isWish || round === MAX_ROUNDS) throw fault()
      avoided.push(prefix)
    }
  }
}

type Unusable = { readonly address: Address; readonly prefix: Cidr; readonly fault: () => Fault }

/** Returns those of the addresses that no pod can have: the node's own, and its routers'. */
export function unusableOnes(host: Netns, addresses: readonly Address[], lookup: RouteLookup): Unusable[] {
  const own = nodeAddressesAmong(host, addresses, lookup).map(({ address, entry }) => {
    return { address, prefix: ownPrefix(entry, address), fault: () => ownAddressFault(host, address, entry) }
  })
  const routers = routersAmong(host, addresses, lookup).map(({ address, entry }) => {
    return { address, prefix: hostCidr(address), fault: () => routerFault(host, address, entry) }
  })
  return [...own, ...routers]
}

/**
 * Returns what else is looked up with the addresses: the gateways that each pod of mode l3 makes addresses of the node (on
 * a bridge they are looked at when they are made), and the uplinks.
 */
function alsoAsked(
  { config }: Request,
  ips: readonly { readonly gateway?: Address }[],
  addresses: readonly Address[],
): Address[] {
  const gateways = config.mode === 'l3' ? ips.flatMap(({ gateway }) => gateway ?? []) : []
  return [...gateways, ...uplinkProbes(addresses)]
}

/** Chooses the addresses that a killed ADD held, if they are free; otherwise any. */
function chooseLeases(
  pool: Pool,
  { sets, requested, before }: LeaseChoice,
  avoided: readonly Cidr[],
): Lease[] {
  const isPlain = requested.length > 0 || before.length === 0 || avoided.length > 0
  if (isPlain) return pool.choose(sets, requested, avoided)
  try {
    return pool.choose(sets, before)
  } catch {
    return pool.choose(sets, [])
  }
}

/** Throws a Fault (invalid config) if the file is not there. */
export function readResolvConf(files: Files, path: string): string {
  const text = files.readForeign(path)
  if (text !== undefined) return text
  throw new Fault(`key "ipam.resolvConf": there is no file ${JSON.stringify(path)}`, {
    code: Code.invalidConfig,
    hint: 'Name a file in the format of resolv.conf(5), or leave the key out.',
  })
}

function acquireFromDelegate(
  request: Request,
  ports: Pick<Ports, 'kernel' | 'store' | 'plugins' | 'features'>,
  record: AttachmentRecord,
  type: string,
  undo: UndoStack,
): Acquired {
  const { kernel, store, plugins } = ports
  // Before the record: a plugin that cannot be found holds no address, and could not be asked to free one.
  findPlugin(plugins, type, request.env['CNI_PATH'] ?? '')
  let written = record
  undo.pushForgetting(() => forget(ports, written, written))
  store.write(record)
  const printed = addDelegated(request, plugins, type, undo)
  const result = parsePrinted(printed, parseJson(type, printed), request.config.cniVersion, type)
  const ips = result.ips.map(({ address, gateway }) => ({ cidr: address, ...(gateway && { gateway }) }))
  if (ips.length === 0) {
    throw new Fault(`plugin ${type} gave no address`, {
      code: Code.invalidConfig,
      hint: `Look at the key "ipam" of the network ${JSON.stringify(request.config.name)}.`,
    })
  }
  assertPodAddresses(ips, `plugin ${type}: `)
  assertGateways(ips, `plugin ${type}: `)
  const lookup = askDelegated(request, kernel.host(), type, ips)
  const ofFeatures = remembered(
    ports.features,
    request.config,
    ips.map(({ cidr }) => cidr),
  )
  written = { ...record, routes: result.routes.map(printRoute), ...ofFeatures }
  store.write(written)
  return { ips, routes: result.routes, ...(result.dns && { dns: result.dns }), record: written, lookup }
}

/** Throws a Fault for an address of the node itself, or of a router: which address comes next is the delegate's choice. */
function askDelegated(request: Request, host: Netns, type: string, ips: readonly PodIp[]): RouteLookup {
  const addresses = ips.map(({ cidr }) => cidr.address)
  const lookup = lookupRoutes(host, [...addresses, ...alsoAsked(request, ips, addresses)])
  const [first] = unusableOnes(host, addresses, lookup)
  if (first) {
    const cause = first.fault()
    throw new Fault(`plugin ${type} gave an address that can't be used: ${cause.message}`, { cause })
  }
  return lookup
}

/**
 * Runs the delegate's ADD. It may hold an address also after a failed ADD: the undo stack gets its DEL either way
 * (specification, section 4), unless it never ran.
 */
function addDelegated(request: Request, plugins: PluginRunner, type: string, undo: UndoStack): string {
  let isOwed = true
  undo.pushForgetting(() => isOwed && runDelegate(request, plugins, type, 'DEL'))
  try {
    return runDelegate(request, plugins, type, 'ADD')
  } catch (error) {
    isOwed = !hasNotStarted(error)
    throw error
  }
}

function parseJson(type: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new Fault(`plugin ${type} printed no JSON: ${JSON.stringify(text.slice(0, 80))}`, {
      code: Code.decode,
      hint: RESULT_HINT,
      cause,
    })
  }
}

function writeRecord(ports: AttachmentPorts, record: AttachmentRecord, undo: UndoStack): AttachmentRecord {
  undo.pushForgetting(() => forget(ports, record, record))
  ports.store.write(record)
  return record
}

/** Decodes the routes of a record, which were checked when it was read. */
export function decodeRoutes(routes: NonNullable<AttachmentRecord['routes']>): PodRoute[] {
  return routes.map(({ dst, gw, mtu, advmss, priority, table, scope }) => ({
    dst: parseCidr(dst),
    ...(gw && { gw: parseAddress(gw) }),
    ...(mtu !== undefined && { mtu }),
    ...(advmss !== undefined && { advmss }),
    ...(priority !== undefined && { priority }),
    ...(table !== undefined && { table }),
    ...(scope !== undefined && { scope }),
  }))
}
