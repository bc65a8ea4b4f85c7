import { viewPool } from '../../ipam/pool.ts'
import type { AttachmentRecord } from '../../ipam/record.ts'
import { parseResult } from '../cni/parse_result.ts'
import { requestsOf } from '../cni/requests.ts'
import { type CniResult, podInterfaceOf } from '../cni/result.ts'
import { parseAddress } from '../core/address.ts'
import { Code, Fault } from '../core/errors.ts'
import { deriveNames } from '../core/names.ts'
import type { Netns } from '../kernel/kernel.ts'
import { compareChained, comparePod } from '../pod/compare.ts'
import type { PodRoute } from '../pod/spec.ts'
import { decodeRoutes } from './addresses.ts'
import { attachmentIdOf, type Call, delegateOf, OWN_IPAM, runDelegate } from './call.ts'
import { chainedSpec, ipsOf } from './chain.ts'
import { withPodNetns } from './pod_netns.ts'
import type { Ports } from './ports.ts'
import { soundRecord } from './records.ts'
import { specOf } from './spec_of.ts'

/** CHECK: throws a Fault that names everything of ours that is missing or wrong. Changes nothing. */
export function check(call: Call, ports: Ports): void {
  const previous = previousResult(call)
  const record = soundRecord(ports, attachmentIdOf(call))
  const type = delegateOf(call.config)
  if (type) runDelegate(call, ports, type, 'CHECK')
  const differences = withPodNetns(call, ports, (netns) => [
    ...compare(call, ports, netns, previous, record),
    ...missingLeases(ports, record),
  ])
  if (differences.length === 0) return
  throw new Fault(`network ${call.config.name} is not as ADD left it: ${differences.join('; ')}`, {
    code: Code.checkFailed,
    cure: 'Recreate the pod; DEL and ADD of this attachment make everything anew.',
  })
}

function previousResult(call: Call): CniResult {
  if (call.config.prevResult) return parseResult(call.config.prevResult, call.config.cniVersion)
  throw new Fault('CHECK needs the key "prevResult", and it is missing', {
    code: Code.invalidConfig,
    cure: 'Call CHECK through a runtime that keeps the result of ADD, such as libcni.',
  })
}

function compare(
  call: Call,
  ports: Ports,
  netns: Netns,
  previous: CniResult,
  record: AttachmentRecord | undefined,
): string[] {
  const { ifName } = call.invocation
  if (podInterfaceOf(previous, ifName) < 0) return [`prevResult names no interface ${ifName} in the pod`]
  if (record?.chained) {
    const port = { name: record.hostIfName ?? '', mtu: 0 }
    const spec = chainedSpec(call, ports, previous, port, deriveNames(record).podMac)
    return compareChained(ports.kernel, spec)
  }
  const requests = requestsOf(call.invocation, call.config)
  const addresses = { ips: ipsOf(previous, ifName), routes: routesOf(call, previous, record) }
  // Not the MTU: a later plugin such as tuning may have set another, and does not say so in the result.
  const spec = specOf(ports.kernel, attachmentIdOf(call), call.config, requests, addresses)
  return comparePod(ports.kernel, netns, spec)
}

/**
 * With our own IPAM the config says which routes are ours, with another the record. The result has those of other
 * plugins as well, and later ones may have changed it.
 */
function routesOf(
  { config }: Call,
  previous: CniResult,
  record: AttachmentRecord | undefined,
): readonly PodRoute[] {
  if (config.ipam?.type === OWN_IPAM) return decodeRoutes(config.ipam.routes)
  return record?.routes ? decodeRoutes(record.routes) : previous.routes
}

function missingLeases(ports: Ports, record: AttachmentRecord | undefined): string[] {
  if (!record) return ['the attachment record is missing']
  const { leases, network } = record
  if (!leases) return []
  const pool = viewPool(ports.files, { dataDir: leases.dataDir, network })
  return leases.addresses
    .filter((address) => !pool.held(record, [parseAddress(address)]))
    .map((address) => `address ${address} is not leased to this container any more`)
}
