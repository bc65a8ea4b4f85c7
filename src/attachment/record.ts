import type { AttachmentId } from '../core/names.ts'

/**
 * What was done for one attachment, written down before it is done. One file an attachment, at
 * `<recordsDir>/<network>/<key>`, whatever the config says: a DEL finds it even when the config has changed.
 */
export type AttachmentRecord = AttachmentId & {
  readonly version: 1
  /** The boot in which this was written: after another boot nothing that it names in the kernel can exist. */
  readonly bootId: string
  /** False from before the first change until ADD has succeeded. */
  readonly complete: boolean
  /** Addresses held in the host-local layout below `dataDir`, in canonical text, one for each range set. */
  readonly leases?: { readonly dataDir: string; readonly addresses: readonly string[] }
  /** The type of the IPAM plugin that holds the addresses, when it is not ours. */
  readonly delegate?: string
  /** Where the pod is: the path as given, and the identity of the namespace behind it. */
  readonly netns?: { readonly path: string; readonly device: number; readonly inode: number }
  /** The host's end of the veth pair. */
  readonly hostIfName?: string
  /** The MAC of the pod's end, where one was asked for: else it is the one that is derived. */
  readonly podMac?: string
  /** Absent when another plugin made the interface and only its addresses are from us. */
  readonly mode?: 'l2' | 'l3' | 'chained'
  readonly bridge?: string
  /** The addresses that have an element in the masquerade map, each as text with its subnet's prefix length. */
  readonly masquerade?: readonly string[]
  /** What of the network's config says how: prefixes that are not masqueraded, and whether source ports are kept. */
  readonly masqueradeSettings?: { readonly direct?: readonly string[]; readonly keepsPorts?: boolean }
  /** The pod itself has asked not to be masqueraded: its addresses have elements in the set of such pods. */
  readonly masqueradeExempt?: true
  /** Frames from the pod are checked for its hardware address. */
  readonly macspoofchk?: true
  /** The sources of what the pod sends are checked; in mode l3 they are unless this is false. */
  readonly ipspoofchk?: boolean
  /** What the pod is held to: rates in bits a second, bursts in bits, subnets as text. */
  readonly bandwidth?: {
    readonly ingressRate?: number
    readonly ingressBurst?: number
    readonly egressRate?: number
    readonly egressBurst?: number
    readonly shapedSubnets?: readonly string[]
    readonly unshapedSubnets?: readonly string[]
  }
  /** Ports of the node that lead to the pod, such as `192.0.2.1:8080:80/tcp`, and its addresses with the prefix of their subnets. */
  readonly hostPorts?: { readonly ports: readonly string[]; readonly pods: readonly string[] }
  /** The routes that `delegate` gave. Of our own addresses the config says them. */
  readonly routes?: readonly RecordedRoute[]
  /** Routes to single addresses of the pod, over the link that carries its gateway (mode l2). */
  readonly hostRoutes?: { readonly link: string; readonly addresses: readonly string[] }
  /** The interface is an earlier plugin's, and never removed: in mode l2 `hostIfName` was made a port of `bridge`. */
  readonly chained?: {
    readonly ifIndex: number
    /** False if it was a port of that bridge before. */
    readonly joined: boolean
    /** The pod's addresses: host routes to them may have been turned from the interface to the bridge. */
    readonly addresses: readonly string[]
  }
}

/** A route as text, with the keys of host-local's configuration. */
type RecordedRoute = {
  readonly dst: string
  readonly gw?: string | undefined
  /** Bytes. */
  readonly mtu?: number | undefined
  readonly advmss?: number | undefined
  readonly priority?: number | undefined
  readonly table?: number | undefined
  readonly scope?: number | undefined
}
