import { type Address, bracketedAddress, type Cidr, sameAddress } from '../../../core/address.ts'
import { Code, Fault } from '../../../core/errors.ts'
import { type HostPort, PROTOCOLS } from '../../../core/host_port.ts'
import type { AttachmentId } from '../../../core/names.ts'
import type { Listener } from '../../../kernel/traffic.ts'
import type { NodePorts } from '../feature.ts'
import { type Entry, portEntry, rivalEntries } from './entries.ts'
import { isTranslated } from './frame.ts'
import { describePlace, placesOf } from './host_port.ts'
import { assertReclaimable, isCommentOf } from './owners.ts'

/** A port at one address of the node, with zeros for any address of a family, and the element that leads it to the pod. */
export type Claim = { readonly port: HostPort; readonly at: Address; readonly entry: Entry }

/** Returns what a pod with these addresses has of its host ports: nothing in a family that it has no address of. */
export function claimsOf(ports: readonly HostPort[], pods: readonly Cidr[]): Claim[] {
  return ports.flatMap((port) =>
    placesOf(port).flatMap((at) => {
      const pod = pods.find(({ address }) => address.family === at.family)
      return pod ? [{ port, at, entry: portEntry(at, port, pod.address) }] : []
    }),
  )
}

/**
 * Returns the elements that stand in the way of these claims and belong to no pod that may live. Throws a Fault if another pod or a
 * program of the node has one of the ports: at the same address, or where one of the two has any address.
 */
export function reclaim(node: NodePorts, id: AttachmentId, claims: readonly Claim[]): Entry[] {
  const known: Parameters<typeof rivalEntries>[2] = new Map()
  const stale = claims.flatMap((claim) =>
    rivalEntries(node.kernel, claim.entry, known).filter(({ element }) => {
      if (!isCommentOf(id, element.comment)) assertReclaimable(node, claim.port, element)
      return true
    }),
  )
  for (const protocol of new Set(claims.map(({ port }) => port.protocol))) {
    const listeners = node.kernel.traffic.listeners(PROTOCOLS[protocol])
    for (const claim of claims) {
      const holder = claim.port.protocol === protocol && listeners.find((one) => takes(one, claim))
      if (holder) throw takenByListener(claim, holder)
    }
  }
  return stale
}

function takes({ address, port }: Listener, { at, port: { hostPort } }: Claim): boolean {
  if (port !== hostPort || address.family !== at.family) return false
  return address.value === 0n || sameAddress(address, at) || (at.value === 0n && isTranslated(address))
}

const SS_OPTIONS = { tcp: '-Hltnp', udp: '-Hlunp', sctp: '-HlSnp' } as const

function takenByListener({ port }: Claim, { address }: Listener): Fault {
  const where = `${bracketedAddress(address)}:${port.hostPort}`
  return new Fault(`host port ${describePlace(port)} is held by a program of the node, at ${where}`, {
    code: Code.addressInUse,
    hint: `Find the program with "ss ${SS_OPTIONS[port.protocol]} 'sport = :${port.hostPort}'", or choose another "hostPort" or "hostIP".`,
  })
}
