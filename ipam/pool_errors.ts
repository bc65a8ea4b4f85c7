import { type Cidr, formatCidr } from '../src/core/address.ts'
import { Code, Fault } from '../src/core/errors.ts'
import { formatRangeSet, type RangeSet } from './range_set.ts'

/** How many addresses of a range set are held, and by whom. */
export type Holdings = {
  /** By attachments that may live. */
  readonly attachments: number
  /** By leases that no record knows: made by host-local, or their records are lost. */
  readonly unrecorded: number
}

/**
 * The refusal of an ADD for which a range set has no address, and of a STATUS before it. `avoided` are the addresses that
 * are the node's own.
 */
export function poolExhausted(
  network: string,
  set: RangeSet,
  { attachments, unrecorded }: Holdings,
  avoided: readonly Cidr[] = [],
): Fault {
  const own = avoided.filter(({ address }) => address.family === set.family).map(formatCidr)
  return new Fault(
    `network ${network}: no free address in ${formatRangeSet(set)} (range set ${set.index}): ` +
      `${attachments + unrecorded} held, ${attachments} by attachments whose pods are not known to be gone, ` +
      `${unrecorded} by leases without a record${own.length > 0 ? `; the node itself has ${own.join(', ')}` : ''}`,
    {
      code: Code.poolExhausted,
      hint: unrecorded > 0 ? `${ROOM} ${STRAYS}` : ROOM,
    },
  )
}

const ROOM = 'Delete pods, or give "ipam.ranges" a larger subnet.'
const STRAYS =
  'Leases without a record are of another program such as host-local; GC, or a reboot, frees those that nobody needs.'
