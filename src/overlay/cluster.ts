import type { Address, Cidr } from '../core/address.ts'
import type { PlacedAddress } from '../kernel/kernel.ts'

/** A node of the cluster, as the API server knows it. */
export type ClusterNode = {
  readonly name: string
  /** Its InternalIPs: one for each family that it has. */
  readonly addresses: readonly Address[]
  /** One for each family of its pods; none until the controller manager has assigned them. */
  readonly podCidrs: readonly Cidr[]
  /** What of its Node object cannot be read; the rest holds. */
  readonly mistakes?: readonly { readonly range?: string; readonly problem: string; readonly hint: string }[]
}

/** A link of this node by which other nodes may be reached. */
export type UnderlayLink = {
  readonly index: number
  readonly name: string
  /** Bytes. */
  readonly mtu: number
  readonly addresses: readonly PlacedAddress['cidr'][]
}
