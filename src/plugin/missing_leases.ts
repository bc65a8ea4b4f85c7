import type { AttachmentRecord } from '../attachment/record.ts'
import { type Address, formatAddress, parseAddress } from '../core/address.ts'
import { quote } from '../core/shell.ts'
import type { Difference } from '../state/explain.ts'
import type { Pools } from './pools.ts'

/** Returns the addresses of a record that are not leased to its attachment any more, each with the step that leases it again. */
export function missingLeases(pools: Pools, record: AttachmentRecord): Difference[] {
  const { leases, network } = record
  if (!leases) return []
  const pool = pools.view(network, leases.dataDir)
  return leases.addresses
    .map(parseAddress)
    .filter((address) => !pool.held(record, [address]))
    .map((address) => {
      const { containerId } = pool.ownerOf(address) ?? {}
      return containerId === undefined
        ? missingLease(pools, record, leases.dataDir, address)
        : {
            what: `address ${formatAddress(address)} is leased to container ${containerId} by now`,
            steps: [],
          }
    })
}

/** Two pods would get the address. The command writes host-local's form. */
function missingLease(pools: Pools, record: AttachmentRecord, dataDir: string, address: Address): Difference {
  const { containerId, ifName, network } = record
  const text = formatAddress(address)
  const file = quote(`${dataDir}/${network}/${text}`)
  const command = `printf '%s\\r\\n%s' ${quote(containerId)} ${quote(ifName)} > ${file}`
  const restore = (): void => pools.hold(network, dataDir, 'lease', (pool) => pool.restore(record, address))
  return {
    what: `address ${text} is not leased to this container any more`,
    steps: [{ command, action: { run: restore } }],
  }
}
