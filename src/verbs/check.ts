import { viewPool } from '../../ipam/pool.ts'
import { parseResult } from '../cni/parse_result.ts'
import { requestsOf } from '../cni/requests.ts'
import type { CniResult } from '../cni/result.ts'
import { parseAddress } from '../core/address.ts'
import { Code, Fault } from '../core/errors.ts'
import type { Netns } from '../kernel/kernel.ts'
import { comparePod } from '../pod/compare.ts'
import type { PodRoute } from '../pod/spec.ts'
import { openPodNetns } from './add.ts'
import { decodeRoutes } from './addresses.ts'
import { attachmentIdOf, type Call, delegateOf, OWN_IPAM, runDelegate } from './call.ts'
import type { Ports } from './ports.ts'
import { soundRecord } from './records.ts'
import { specOf } from './spec_of.ts'

/** CHECK: throws a Fault that names everything of ours that is missing or wrong. Changes nothing. */
export function check(call: Call, ports: Ports): void {
  const previous = previousResult(call)
  const type = delegateOf(call.config)
  if (type) runDelegate(call, ports, type, 'CHECK')
  const netns = openPodNetns(ports, call.invocation.netns, call.invocation.netnsOverride)
  try {
    const differences = [...compare(call, ports, netns, previous), ...missingLeases(call, ports)]
    if (differences.length === 0) return
    throw new Fault(`network ${call.config.name} is not as ADD left it: ${differences.join('; ')}`, {
      code: Code.checkFailed,
      cure: 'Recreate the pod; DEL and ADD of this attachment make everything anew.',
    })
  } finally {
    netns.close()
  }
}

function previousResult(call: Call): CniResult {
  if (call.config.prevResult) return parseResult(call.config.prevResult, call.config.cniVersion)
  throw new Fault('CHECK needs the key "prevResult", and it is missing', {
    code: Code.invalidConfig,
    cure: 'Call CHECK through a runtime that keeps the result of ADD, such as libcni.',
  })
}

/** Only the addresses of this interface count: a later plugin may have added others. */
function compare(call: Call, ports: Ports, netns: Netns, previous: CniResult): string[] {
  const { ifName } = call.invocation
  const index = previous.interfaces.findIndex(({ name, sandbox }) => name === ifName && sandbox)
  if (index < 0) return [`prevResult names no interface ${ifName} in the pod`]
  const ips = previous.ips
    .filter((ip) => ip.interface === undefined || ip.interface === index)
    .map(({ address, gateway }) => ({ cidr: address, ...(gateway && { gateway }) }))
  const requests = requestsOf(call.invocation, call.config)
  const spec = specOf(ports.kernel, attachmentIdOf(call), call.config, requests, {
    ips,
    routes: routesOf(call, previous),
  })
  return comparePod(ports.kernel, netns, spec)
}

/** With our own IPAM the config says which routes are ours; later plugins may have changed those of the result. */
function routesOf({ config }: Call, previous: CniResult): readonly PodRoute[] {
  return config.ipam?.type === OWN_IPAM ? decodeRoutes(config.ipam.routes) : previous.routes
}

function missingLeases(call: Call, ports: Ports): string[] {
  const id = attachmentIdOf(call)
  const record = soundRecord(ports, id)
  if (!record) return ['the attachment record is missing']
  const { leases } = record
  if (!leases) return []
  const pool = viewPool(ports.files, { dataDir: leases.dataDir, network: id.network })
  return leases.addresses
    .filter((address) => !pool.held(id, [parseAddress(address)]))
    .map((address) => `address ${address} is not leased to this container any more`)
}
