import { type Address, sameAddress } from '../core/address.ts'
import { isErrno, withAction } from '../core/errors.ts'
import { highestMac } from '../core/mac.ts'
import { type AttachmentId, deriveNames } from '../core/names.ts'
import type { Kernel, Link, Netns } from '../kernel/kernel.ts'
import { aliasOf, isOwnAlias, isWhole } from './alias.ts'
import { removeLink } from './detach.ts'

/*
 * WHAT MAY BE REMOVED. A name proves nothing: people and udev rename links, a name is used again, and a path of a
 * namespace, a process id or an inode leads to another pod by the time of a late DEL. So a link goes only when it is shown
 * to be the attachment's:
 *   host end   by the MAC that is derived from the attachment, or by the alias that names it in full
 *   pod end    by its host end at the other side; or in the pod's own namespace by the MAC that it was given, or by an
 *              address that the attachment holds, unless the record of another attachment names that interface
 * What can't be shown stays. Whether the link is gone decides whether its addresses are free.
 */

export type Identity = Netns['identity']

/** A namespace, and how it is reached. */
type Place = Identity & { readonly path: string }

/** What the interface of an attachment is known by. */
export type Marks = {
  readonly id: AttachmentId
  /** Where the pod's end may be. One that has no identity was given by the runtime, and no record says more. */
  readonly namespaces: readonly { readonly path: string; readonly identity?: Identity }[]
  /** Any of them is the MAC of the pod's end. */
  readonly podMacs: readonly string[]
  /** Any of them is on the pod's end, and on nobody else's. */
  addresses(): readonly Address[]
  /** Whether anything shows that it was made: only then all links of the node are asked for, 0.1 ms each. */
  wasMade(): boolean
  /** Whether another attachment has this interface of a namespace, by its record; without a name: any interface. */
  isClaimed(namespace: Identity, ifName?: string): boolean
}

/** All links of the node, asked for at most once. */
export type HostLinks = () => readonly Link[]

/** The links of the node, as they are when they are first needed. */
export function hostLinksOf(kernel: Kernel): HostLinks {
  let links: readonly Link[] | undefined
  return () => {
    links ??= kernel.host().links()
    return links
  }
}

/** Whether this link of the node is the host end of the attachment, whatever its name is by now. */
export function isHostEnd(link: Link, id: AttachmentId): boolean {
  if (link.kind !== 'veth') return false
  if (hasHostMac(link, id)) return true
  // udev gives links another MAC. An alias can be set by hand: on the host end of another pod it proves nothing.
  if (link.alias !== aliasOf(id)) return false
  return link.name === deriveNames(id).hostIfName || (isWhole(link.alias) && !isDerivedName(link.name))
}

/** Whether the attachment is the one that the alias of this host end names, and its name or MAC says the same. */
export function isNamedByAlias(link: Link, id: AttachmentId): boolean {
  return isHostEnd(link, id) && (hasHostMac(link, id) || link.name === deriveNames(id).hostIfName)
}

/** The port of a bridge gets the high one. */
function hasHostMac({ mac }: Link, id: AttachmentId): boolean {
  const { hostMac } = deriveNames(id)
  return mac === hostMac || mac === highestMac(hostMac)
}

/** Whether the name has the form of those that we give to host ends. */
export function isDerivedName(name: string): boolean {
  return /^veth[0-9a-f]{11}$/.test(name)
}

/** The host end of an attachment under the name that it was given. */
export function namedHostEnd(host: Netns, id: AttachmentId): Link | undefined {
  const named = host.link({ name: deriveNames(id).hostIfName })
  return named && isHostEnd(named, id) ? named : undefined
}

/** Whether this link of the node leads to an interface of a namespace that must be the same as it was. */
export function leadsTo(kernel: Kernel, port: Link, { path, ...identity }: Place, ifName: string): boolean {
  const netns = openIfThere(kernel, path)
  if (!netns) return false
  try {
    const pod = isSame(netns.identity, identity) ? netns.link({ name: ifName }) : undefined
    return pod?.peer === port.index && pod.index === port.peer
  } finally {
    netns.close()
  }
}

/** The link of the node that is the other end of this link in a pod. */
export function hostEndOf(host: Netns, pod: Link): Link | undefined {
  const peer = pod.peer === undefined ? undefined : host.link({ index: pod.peer })
  return peer?.kind === 'veth' && peer.peer === pod.index ? peer : undefined
}

/** The host end of an attachment, if the interface in this namespace is its other end. */
export function hostEndIn(host: Netns, netns: Netns, id: AttachmentId): Link | undefined {
  const pod = netns.link({ name: id.ifName })
  const peer = pod && hostEndOf(host, pod)
  return peer && isHostEnd(peer, id) ? peer : undefined
}

/** The host end of an attachment, by whatever name. Without its name it is looked for among all links. */
export function findHostEnd(host: Netns, id: AttachmentId, hostLinks: HostLinks): Link | undefined {
  return namedHostEnd(host, id) ?? hostLinks().find((link) => isHostEnd(link, id))
}

/** Removes the interface of an attachment, both ends. False if nothing that is shown to be its own is there. */
export function removeInterface(kernel: Kernel, marks: Marks, hostLinks: HostLinks): boolean {
  const host = kernel.host()
  const named = namedHostEnd(host, marks.id)
  if (named) return removeFound(host, named)
  if (marks.namespaces.some((one) => removeFromPod(kernel, marks, one))) return true
  if (!marks.wasMade()) return false
  const renamed = hostLinks().find((link) => isHostEnd(link, marks.id))
  return renamed !== undefined && removeFound(host, renamed)
}

/** By its index: the name may be another link's by now. */
function removeFound(netns: Netns, { index, name }: Link): boolean {
  return withAction(`remove link ${name}`, () => removeLink(netns, { index }))
}

function removeFromPod(
  kernel: Kernel,
  marks: Marks,
  { path, identity }: Marks['namespaces'][number],
): boolean {
  const netns = openIfThere(kernel, path)
  if (!netns) return false
  try {
    const isMeant = isSame(netns.identity, identity ?? netns.identity)
    if (!isMeant || isSame(netns.identity, kernel.host().identity)) return false
    const pod = findPodEnd(kernel.host(), netns, marks)
    return pod !== undefined && removeFound(netns, pod)
  } finally {
    netns.close()
  }
}

function findPodEnd(host: Netns, netns: Netns, marks: Marks): Link | undefined {
  const named = netns.link({ name: marks.id.ifName })
  if (named && isPodEnd(host, netns, named, marks)) return named
  return netns.links().find((link) => link.name !== named?.name && isPodEnd(host, netns, link, marks, true))
}

/** The loopback and plain devices are not ours to take. One that was renamed is only known by what we gave it. */
function isPodEnd(host: Netns, netns: Netns, link: Link, marks: Marks, isRenamed = false): boolean {
  if (link.kind === '') return false
  const peer = hostEndOf(host, link)
  if (peer && isHostEnd(peer, marks.id)) return true
  const isMarked = marks.podMacs.includes(link.mac) || (!isRenamed && holdsAddress(netns, link, marks))
  if (!isMarked || marks.isClaimed(netns.identity, isRenamed ? undefined : link.name)) return false
  return link.mac === deriveNames(marks.id).podMac || !isOwnAlias(peer?.alias)
}

function holdsAddress(netns: Netns, { index }: Link, marks: Marks): boolean {
  const held = marks.addresses()
  if (held.length === 0) return false
  return netns.addresses(index).some(({ cidr }) => held.some((one) => sameAddress(one, cidr.address)))
}

/** Of a path that leads to no namespace, in whatever way, nothing can be removed. */
const NO_NAMESPACE = [
  'ENOENT',
  'EINVAL',
  'ENOTDIR',
  'ELOOP',
  'ENAMETOOLONG',
  'EACCES',
  'ENXIO',
  'ENODEV',
  'ESRCH',
]

function openIfThere(kernel: Kernel, path: string): Netns | undefined {
  try {
    return kernel.openNetns(path)
  } catch (error) {
    if (isErrno(error, ...NO_NAMESPACE)) return undefined
    throw error
  }
}

function isSame(a: Identity, b: Identity): boolean {
  return a.device === b.device && a.inode === b.inode
}
