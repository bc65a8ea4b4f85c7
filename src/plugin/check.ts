import type { AttachmentRecord } from '../attachment/record.ts'
import { parseResult } from '../cni/parse_result.ts'
import { type CniResult, podInterfaceOf } from '../cni/result.ts'
import { runtimeArgsOf } from '../cni/runtime_args.ts'
import { Code, Fault } from '../core/errors.ts'
import { deriveNames } from '../core/names.ts'
import type { Netns } from '../kernel/kernel.ts'
import { checkChained, checkPod } from '../pod/check.ts'
import { recalled } from '../pod/features/feature.ts'
import type { PodRoute } from '../pod/spec.ts'
import { type Difference, explain } from '../state/explain.ts'
import { decodeRoutes } from './addresses.ts'
import { chainedSpec, ipsOf } from './chained.ts'
import { missingLeases } from './missing_leases.ts'
import { withPodNetns } from './pod_netns.ts'
import { podSpecOf } from './pod_spec.ts'
import type { Ports } from './ports.ts'
import { attachmentIdOf, delegateOf, OWN_IPAM, type Request, runDelegate } from './request.ts'

/** CHECK: throws a Fault that names everything of ours that is missing or wrong. Changes nothing. */
export function check(request: Request, ports: Ports): void {
  const previous = previousResult(request)
  const record = ports.store.read(attachmentIdOf(request))
  const type = delegateOf(request.config)
  if (type) runDelegate(request, ports.plugins, type, 'CHECK')
  const config = record ? recalled(ports.features, request.config, record) : request.config
  const differences = withPodNetns(request, ports.kernel, (netns) => [
    ...(record
      ? missingLeases(ports.pools, record)
      : [{ what: 'the attachment record is missing', steps: [] }]),
    ...compare({ ...request, config }, ports, netns, previous, record),
  ])
  if (differences.length > 0) throw notAsLeft(request.config.name, differences)
}

/** Returns the Fault for differences. Its message has the first one, its hint all of them with the commands that mend them. */
function notAsLeft(network: string, differences: readonly Difference[]): Fault {
  const texts = differences.map((one) => explain(one, 'delete the pod'))
  const others = differences.length > 1 ? ` (and ${differences.length - 1} more)` : ''
  return new Fault(`network ${network} is not as ADD left it: ${differences[0]?.what}${others}`, {
    code: Code.checkFailed,
    hint: `${texts.join('; ')}. Run what stands in brackets as root on the node, in this order.`,
  })
}

function previousResult(request: Request): CniResult {
  if (request.config.prevResult) return parseResult(request.config.prevResult, request.config.cniVersion)
  throw new Fault('CHECK needs the key "prevResult", and it is missing', {
    code: Code.invalidConfig,
    hint: 'Call CHECK through a runtime that keeps the result of ADD, such as libcni.',
  })
}

function compare(
  request: Request,
  { kernel, features }: Pick<Ports, 'kernel' | 'features'>,
  netns: Netns,
  previous: CniResult,
  record: AttachmentRecord | undefined,
): Difference[] {
  const { ifName } = request.invocation
  const index = podInterfaceOf(previous, ifName)
  if (index < 0) return [{ what: `prevResult names no interface ${ifName} in the pod`, steps: [] }]
  // The result tells of a MAC that a later plugin has given the pod.
  const mac = previous.interfaces[index]?.mac
  if (record?.chained) {
    const port = { name: record.hostIfName ?? '', mtu: 0 }
    const podMac = mac ?? netns.link({ name: ifName })?.mac ?? deriveNames(record).podMac
    const spec = chainedSpec(request, kernel, previous, port, podMac)
    return checkChained(kernel, spec, features, record.chained.ifIndex)
  }
  const requests = { ...runtimeArgsOf(request.invocation, request.config), ...(mac && { mac }) }
  const addresses = { ips: ipsOf(previous, ifName), routes: routesOf(request, previous, record) }
  const spec = podSpecOf(kernel, attachmentIdOf(request), request.config, requests, addresses)
  return checkPod(kernel, netns, spec, request.invocation.netns, features)
}

/**
 * With our own IPAM the config says which routes are ours, with another the record. The result has those of other
 * plugins as well, and later ones may have changed it.
 */
function routesOf(
  { config }: Request,
  previous: CniResult,
  record: AttachmentRecord | undefined,
): readonly PodRoute[] {
  if (config.ipam?.type === OWN_IPAM) return config.ipam.routes ?? []
  return record?.routes ? decodeRoutes(record.routes) : previous.routes
}
