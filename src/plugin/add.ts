import { hostEndIn } from '../attachment/identity.ts'
import type { AttachmentRecord } from '../attachment/record.ts'
import { recordIn } from '../attachment/store.ts'
import { teardown } from '../attachment/teardown.ts'
import { parseResult } from '../cni/parse_result.ts'
import { assertPrintable } from '../cni/print_result.ts'
import { type CniInterface, type CniResult, podInterfaceOf } from '../cni/result.ts'
import { chooseDns, type RuntimeArgs, runtimeArgsOf } from '../cni/runtime_args.ts'
import { Code, Fault } from '../core/errors.ts'
import { deriveNames } from '../core/names.ts'
import { UndoStack, withUnwound } from '../core/undo.ts'
import type { Link, Netns } from '../kernel/kernel.ts'
import { type Attached, attachPod } from '../pod/attach.ts'
import { remembered } from '../pod/features/feature.ts'
import { nodeStateOf } from '../pod/node_state.ts'
import { wantedRoutes } from '../pod/plan.ts'
import type { PodSpec } from '../pod/spec.ts'
import { type Acquired, acquireAddresses } from './addresses.ts'
import { addChained, nothingToChainTo } from './chained.ts'
import { withPodNetns } from './pod_netns.ts'
import { bridgeNameOf, podSpecOf } from './pod_spec.ts'
import type { Ports } from './ports.ts'
import { recordedTeardown, unrecordedTeardown } from './removal.ts'
import { attachmentIdOf, type Request } from './request.ts'

/**
 * ADD: gives a container an interface on the network. Either all of it is done, or the machine is as it was and a Fault
 * says why. Finishes what an ADD of the same attachment left when it was killed. With a `prevResult` that has the
 * interface already, connects that interface instead; else its own interface comes after those of the `prevResult`.
 */
export function add(request: Request, ports: Ports): void {
  const { invocation, config } = request
  const previous = config.prevResult && parseResult(config.prevResult, config.cniVersion)
  if (!config.ipam?.type) assertPrintable({ ips: previous?.ips ?? [] }, config.cniVersion)
  const isMade = previous !== undefined && podInterfaceOf(previous, invocation.ifName) >= 0
  if (config.mode === 'chained' && !isMade) throw nothingToChainTo(invocation.ifName, previous !== undefined)
  withPodNetns(request, ports.kernel, (netns) =>
    ports.locks.withAttachment(attachmentIdOf(request), () =>
      isMade ? addChained(request, ports, netns, previous) : addLocked(request, ports, netns, previous),
    ),
  )
}

function addLocked(request: Request, ports: Ports, netns: Netns, previous: CniResult | undefined): void {
  const { kernel, store, pools } = ports
  const id = attachmentIdOf(request)
  const stored = store.readFile({ network: id.network, key: deriveNames(id).key })
  const before = recordIn(stored)
  if (stored && !before) {
    const freeLeases = () => pools.releaseAll(id, request.config.ipam?.dataDir)
    teardown(ports, { ...unrecordedTeardown(request, pools), freeLeases, leavesRecord: true })
    store.remove(id)
  }
  refuseExisting(kernel.host(), netns, request, before)
  if (before?.bootId === kernel.bootId() && previous) refuseSharedRecord(before)
  // What an ADD that was killed has left. This ADD gets its addresses again, and overwrites its record.
  if (before) teardown(ports, { ...recordedTeardown(request, before, ports), leavesRecord: true })
  const undo = new UndoStack()
  const args = runtimeArgsOf(request.invocation, request.config)
  try {
    const record = recordOf(request, ports, netns, args)
    const acquired = acquireAddresses(request, ports, record, before?.leases?.addresses, undo)
    const spec = podSpecOf(kernel, id, request.config, args, acquired)
    const others = nodeStateOf(ports, id, pools.ownersIn(request.config.ipam?.dataDir))
    const attached = attachPod(kernel, netns, spec, others, undo, acquired.lookup)
    const links = ports.features.flatMap((feature) => feature.hostLinks?.(spec) ?? [])
    const result = appended(previous, resultOf(request, spec, attached, acquired, links))
    store.complete(acquired.record)
    request.deliver(result)
  } catch (error) {
    throw withUnwound(error, undo.unwind())
  }
}

/** Throws a Fault if the interface is there, unless an ADD of this very attachment was killed after it had made it. */
function refuseExisting(
  host: Netns,
  netns: Netns,
  request: Request,
  record: AttachmentRecord | undefined,
): void {
  const { ifName } = request.invocation
  const present = netns.link({ name: ifName })
  if (!present) return
  if (record && !record.complete && hostEndIn(host, netns, record)) return
  throw new Fault(`interface ${ifName} already exists in ${request.invocation.netns}`, {
    code: Code.interfaceExists,
    hint: 'Call DEL for this container and interface first, or choose another CNI_IFNAME.',
  })
}

/** Throws a Fault where an earlier plugin of the same list has addresses of our IPAM: they are not ours to free. */
function refuseSharedRecord({ mode, leases, ifName }: AttachmentRecord): void {
  if (mode || !leases) return
  throw new Fault(`an earlier plugin of this list holds ${leases.addresses.join(', ')} for ${ifName}`, {
    code: Code.invalidConfig,
    hint: 'Let one plugin of a list make CNI_IFNAME; Bowline behind it connects it to a bridge. Call DEL if it is gone.',
  })
}

function recordOf(
  request: Request,
  { kernel, features }: Pick<Ports, 'kernel' | 'features'>,
  netns: Netns,
  { mac }: RuntimeArgs,
): AttachmentRecord {
  const id = attachmentIdOf(request)
  const { mode = 'l2' } = request.config
  return {
    ...id,
    version: 1,
    bootId: kernel.bootId(),
    complete: false,
    netns: { path: request.invocation.netns, ...netns.identity },
    hostIfName: deriveNames(id).hostIfName,
    ...(mac && { podMac: mac }),
    mode,
    ...(mode === 'l2' && { bridge: bridgeNameOf(request.config) }),
    ...remembered(features, request.config, []),
  }
}

function resultOf(
  request: Request,
  spec: PodSpec,
  attached: Attached,
  acquired: Acquired,
  links: readonly CniInterface[],
): CniResult {
  const { bridge, host, pod, gatewayVlan } = attached
  const sandbox = request.invocation.netns
  const interfaces: CniInterface[] = [
    ...(bridge ? [interfaceOf(bridge)] : []),
    interfaceOf(host),
    { ...interfaceOf(pod), sandbox },
    ...(gatewayVlan ? [interfaceOf(gatewayVlan)] : []),
    ...links,
  ]
  const podIndex = interfaces.findIndex((one) => one.sandbox !== undefined)
  const dns = chooseDns(request.config, acquired.dns)
  return {
    interfaces,
    ips: spec.ips.map(({ cidr, gateway }) => ({
      address: cidr,
      ...(gateway && { gateway }),
      interface: podIndex,
    })),
    routes: wantedRoutes(spec),
    ...(dns && { dns }),
  }
}

function interfaceOf({ name, mac, mtu }: Link): CniInterface {
  return { name, mac, mtu }
}

/** Returns the result of earlier plugins with ours behind it, whose indexes move. Our DNS settings replace theirs, if there are any. */
function appended(previous: CniResult | undefined, own: CniResult): CniResult {
  if (!previous) return own
  const offset = previous.interfaces.length
  const dns = own.dns ?? previous.dns
  return {
    interfaces: [...previous.interfaces, ...own.interfaces],
    ips: [...previous.ips, ...own.ips.map((ip) => ({ ...ip, interface: (ip.interface ?? 0) + offset }))],
    routes: [...previous.routes, ...own.routes],
    ...(dns && { dns }),
  }
}
