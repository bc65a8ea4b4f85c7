import { planRanges } from '../../ipam/config.ts'
import { poolStats } from '../../ipam/pool_stats.ts'
import { Code, during, Fault } from '../core/errors.ts'
import { poolPlace } from './addresses.ts'
import { type Call, delegateOf, OWN_IPAM, runDelegate } from './call.ts'
import type { Ports } from './ports.ts'

/**
 * STATUS: throws a Fault with code 50 when an ADD could not be served now: the store can't be written, the pool is
 * full, a delegate says no. Takes no lock: containerd asks every five seconds and waits for the answer without end.
 */
export function status(call: Call, ports: Ports): void {
  const { config } = call
  const type = delegateOf(config)
  if (type) runDelegate(call, ports, type, 'STATUS')
  during('write below the state directory', () => probe(ports, ports.paths.recordsDir), {
    code: Code.notAvailable,
  })
  if (config.ipam?.type === OWN_IPAM) refuseFullPool(call, ports)
}

function probe(ports: Ports, directory: string): void {
  ports.files.ensureDirectory(directory)
  const path = `${directory}/.status`
  ports.files.replace(path, '')
  ports.files.remove(path)
}

function refuseFullPool({ config }: Call, ports: Ports): void {
  const { ipam = {}, runtimeConfig } = config
  const sets = planRanges(ipam, runtimeConfig?.ipRanges)
  const stats = poolStats(ports.files, poolPlace(ports, config.name, ipam.dataDir), sets)
  for (const { total, held, range } of stats) {
    if (BigInt(held) < total) continue
    throw new Fault(`network ${config.name} has no address left: all ${total} of ${range} are held`, {
      code: Code.notAvailable,
      cure: 'Delete pods, or give "ipam.ranges" a larger subnet.',
    })
  }
}
