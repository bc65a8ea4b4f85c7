import type { Attachments } from '../../ipam/attachments.ts'
import type { Owner } from '../../ipam/leases.ts'
import { type AttachmentId, deriveNames } from '../core/names.ts'
import { hostLinksOf } from './identity.ts'
import { isDead } from './liveness.ts'
import type { Locks } from './locks.ts'
import type { AttachmentRecord } from './record.ts'
import { isBlankRecord, soundRecords } from './store.ts'
import { type AttachmentPorts, teardown } from './teardown.ts'

/** Returns what the pool of a network asks of the network's attachments. Reads nothing until it is asked. */
export function poolAttachments(
  ports: AttachmentPorts & { readonly locks: Locks },
  network: string,
): Attachments {
  const { kernel, store, locks } = ports
  const hostLinks = hostLinksOf(kernel)
  const idOf = ({ containerId, ifName }: Owner): AttachmentId => ({ network, containerId, ifName })
  return {
    readAll: () => {
      const stored = store.readFiles(network)
      const blank = new Set(stored.filter(isBlankRecord).map(({ key }) => key))
      return {
        attachments: soundRecords(stored),
        isLost: (owner) => blank.size > 0 && blank.has(deriveNames(idOf(owner)).key),
        removeLost: () => {
          for (const key of blank) {
            const place = { network, key }
            locks.whenIdle(key, () => isBlankRecord(store.readFile(place)) && store.remove(place))
          }
        },
      }
    },
    find: (owner) => store.read(idOf(owner)),
    isDead: (record: AttachmentRecord) => isDead(kernel, record, hostLinks),
    whenIdle: (owner, work) =>
      locks.whenIdle(idOf(owner), () => {
        const now = store.read(idOf(owner))
        return now && work(now)
      }),
    // What the network's attachments share stays: the ADD that needs an address will use it.
    reclaim: (record: AttachmentRecord, freeLeases) => {
      const leavesKernel = record.bootId !== kernel.bootId()
      teardown(ports, { id: record, record, hostLinks, leavesKernel, freeLeases, leavesRecord: true })
      store.remove(record)
    },
  }
}
