import { validAttachments } from '../cni/valid_attachments.ts'
import { Code, collectFaults, Fault } from '../core/errors.ts'
import { withPool } from './addresses.ts'
import { attachmentIdOf, type Call, delegateOf, runDelegate } from './call.ts'
import type { Ports } from './ports.ts'
import { forgetRecord, recordsOf } from './records.ts'
import { removeRecorded, throwCollected } from './remove.ts'

/**
 * GC: removes everything of this network that does not belong to a valid attachment. Goes on after a failure and
 * reports all at the end. An attachment whose lock is held is in the middle of an ADD or DEL: it is left alone.
 */
export function gc(call: Call, ports: Ports): void {
  const valid = validAttachments(call.config)
  const network = call.config.name
  const isValid: Validity = (containerId, ifName) =>
    valid.some((one) => one.containerId === containerId && (ifName === undefined || one.ifName === ifName))
  const type = delegateOf(call.config)
  const records = recordsOf(ports)
  const stale = records.list(network).filter(({ containerId, ifName }) => !isValid(containerId, ifName))
  const faults = collectFaults([
    ...stale.map((record) => () => collect(ports, record)),
    ...(type
      ? [() => void runDelegate(call, ports, type, 'GC')]
      : [() => freeStrayLeases(call, ports, isValid)]),
  ])
  throwCollected(faults, `network ${network}`)
}

function collect(ports: Ports, stale: Parameters<typeof removeRecorded>[1]): void {
  const lock = recordsOf(ports).tryLock(stale)
  if (!lock) return
  try {
    throwCollected(removeRecorded(ports, stale), stale.containerId)
    forgetRecord(ports, stale)
  } finally {
    lock.release()
  }
}

/**
 * Leases without a record: of host-local, or of a store whose records were lost. The records are read under the pool's
 * lock: an ADD writes its record before its leases, so none that has a lease by then can be missed.
 */
function freeStrayLeases(call: Call, ports: Ports, isValid: Validity): void {
  const { network } = attachmentIdOf(call)
  withPool(ports, network, call.config.ipam?.dataDir, (pool) => {
    const recorded = recordsOf(ports).list(network)
    const isRecorded: Validity = (containerId, ifName) =>
      recorded.some(
        (one) => one.containerId === containerId && (ifName === undefined || one.ifName === ifName),
      )
    const strays = pool
      .owners()
      .filter(({ containerId, ifName }) => !isValid(containerId, ifName) && !isRecorded(containerId, ifName))
    const faults = collectFaults(
      strays.map(
        ({ containerId, ifName = '', address }) =>
          () =>
            pool.release({ containerId, ifName }, [address]),
      ),
    )
    if (faults[0]) {
      throw new Fault(faults.map(({ message }) => message).join('; '), { code: Code.incompleteRemoval })
    }
  })
}

/** Old leases name no interface: then the container alone decides. */
type Validity = (containerId: string, ifName: string | undefined) => boolean
