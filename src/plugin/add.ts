import { hostEndIn } from '../attachment/identity.ts'
import type { AttachmentRecord } from '../attachment/record.ts'
import { isDamaged } from '../attachment/store.ts'
import { parseResult } from '../cni/parse_result.ts'
import { assertPrintable } from '../cni/print_result.ts'
import { type CniInterface, type CniResult, podInterfaceOf } from '../cni/result.ts'
import { chooseDns, type RuntimeArgs, runtimeArgsOf } from '../cni/runtime_args.ts'
import { Code, Fault } from '../core/errors.ts'
import { deriveNames } from '../core/names.ts'
import { UndoStack } from '../core/undo.ts'
import type { Link, Netns } from '../kernel/kernel.ts'
import { type Attached, attachPod } from '../pod/attach.ts'
import { wantedRoutes } from '../pod/plan.ts'
import type { PodSpec } from '../pod/spec.ts'
import { type Acquired, acquireAddresses } from './addresses.ts'
import { addChained } from './chained.ts'
import { nodeStateOf } from './liveness.ts'
import { withPodNetns } from './pod_netns.ts'
import { bridgeNameOf, podSpecOf } from './pod_spec.ts'
import type { Ports } from './ports.ts'
import { recordsOf, withAttachmentLock } from './records.ts'
import { releaseUnrecorded, removeWithDelegated } from './remove.ts'
import { attachmentIdOf, dataDirOf, type Request } from './request.ts'
import { removeUnrecorded, throwCollected, withUnwound } from './teardown.ts'

/**
 * ADD: gives a container an interface on the network. Either all of it is done, or the machine is as it was and a
 * Fault says why. What an earlier ADD of the same attachment left when it was killed is taken over. With a `prevResult`
 * that has the interface already, it is connected instead; else what we made stands behind what is there.
 */
export function add(request: Request, ports: Ports): void {
  const { invocation, config } = request
  const previous = config.prevResult && parseResult(config.prevResult, config.cniVersion)
  if (!config.ipam?.type) assertPrintable({ ips: previous?.ips ?? [] }, config.cniVersion)
  const isChained = previous !== undefined && podInterfaceOf(previous, invocation.ifName) >= 0
  withPodNetns(request, ports, (netns) =>
    withAttachmentLock(request, ports, () =>
      isChained ? addChained(request, ports, netns, previous) : addLocked(request, ports, netns, previous),
    ),
  )
}

function addLocked(request: Request, ports: Ports, netns: Netns, previous: CniResult | undefined): void {
  const id = attachmentIdOf(request)
  const records = recordsOf(ports)
  const reading = records.read(id)
  if (isDamaged(reading)) clearDamaged(request, ports)
  const before = isDamaged(reading) ? undefined : reading
  refuseExisting(ports, netns, request, before)
  if (before?.bootId === ports.kernel.bootId() && previous) refuseSharedRecord(before)
  if (before) removeRemains(request, ports, before)
  const undo = new UndoStack()
  const requests = runtimeArgsOf(request.invocation, request.config)
  try {
    const acquired = acquireAddresses(
      request,
      ports,
      recordOf(request, ports, netns, requests),
      before?.leases?.addresses,
      undo,
    )
    const spec = podSpecOf(ports.kernel, id, request.config, requests, acquired)
    const others = nodeStateOf(ports, id, dataDirOf(request.config, ports))
    const attached = attachPod(ports.kernel, netns, spec, others, undo, acquired.lookup)
    const result = appended(previous, resultOf(request, spec, attached, acquired))
    records.complete(acquired.record)
    request.deliver(result)
  } catch (error) {
    throw withUnwound(error, undo.unwind())
  }
}

/** What an ADD that was killed has left; the addresses that it had from us it gets again. */
function removeRemains(request: Request, ports: Ports, record: AttachmentRecord): void {
  throwCollected(removeWithDelegated(request, ports, record), record.containerId)
}

/** A record that can't be trusted, after a power failure perhaps: what the derived names and the leases show goes. */
function clearDamaged(request: Request, ports: Ports): void {
  const id = attachmentIdOf(request)
  throwCollected(removeUnrecorded(ports, request).faults, id.containerId)
  releaseUnrecorded(request, ports)
  recordsOf(ports).remove(id)
}

/** The interface must not be there, unless an ADD of this very attachment was killed after it had made it. */
function refuseExisting(
  ports: Ports,
  netns: Netns,
  request: Request,
  record: AttachmentRecord | undefined,
): void {
  const { ifName } = request.invocation
  const present = netns.link({ name: ifName })
  if (!present) return
  if (record && !record.complete && hostEndIn(ports.kernel.host(), netns, record)) return
  throw new Fault(`interface ${ifName} already exists in ${request.invocation.netns}`, {
    code: Code.interfaceExists,
    hint: 'Call DEL for this container and interface first, or choose another CNI_IFNAME.',
  })
}

/** An earlier plugin of the same list may have the addresses of our IPAM: they are not ours to free. */
function refuseSharedRecord({ mode, leases, ifName }: AttachmentRecord): void {
  if (mode || !leases) return
  throw new Fault(`an earlier plugin of this list holds ${leases.addresses.join(', ')} for ${ifName}`, {
    code: Code.invalidConfig,
    hint: 'Let one plugin of a list make CNI_IFNAME; Bowline behind it connects it to a bridge. Call DEL if it is gone.',
  })
}

function recordOf(request: Request, ports: Ports, netns: Netns, { mac }: RuntimeArgs): AttachmentRecord {
  const id = attachmentIdOf(request)
  const { mode = 'l2', macspoofchk } = request.config
  return {
    ...id,
    version: 1,
    bootId: ports.kernel.bootId(),
    complete: false,
    netns: { path: request.invocation.netns, ...netns.identity },
    hostIfName: deriveNames(id).hostIfName,
    ...(mac && { podMac: mac }),
    mode,
    ...(mode === 'l2' && { bridge: bridgeNameOf(request.config) }),
    ...(macspoofchk && { macspoofchk }),
  }
}

function resultOf(request: Request, spec: PodSpec, attached: Attached, acquired: Acquired): CniResult {
  const { bridge, host, pod, gatewayVlan } = attached
  const sandbox = request.invocation.netns
  const interfaces: CniInterface[] = [
    ...(bridge ? [interfaceOf(bridge)] : []),
    interfaceOf(host),
    { ...interfaceOf(pod), sandbox },
    ...(gatewayVlan ? [interfaceOf(gatewayVlan)] : []),
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

/** What earlier plugins made stays as it is, and first: only our indexes move. Of DNS settings ours count, if any. */
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
