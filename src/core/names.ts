import { runtime } from '#runtime'
import { type Mac, macFromHash } from './mac.ts'
import { textBytes } from './text.ts'

/** In bytes: IFNAMSIZ without the closing NUL. Source: linux/if.h. */
const MAX_INTERFACE_NAME = 15
/** In bytes: NAME_MAX. */
const MAX_FILE_NAME = 255

/** The identity of an attachment: one interface of one container on one network. */
export type AttachmentId = {
  readonly network: string
  readonly containerId: string
  readonly ifName: string
}

/** The names that follow from the identity of an attachment, without any record. */
export type DerivedNames = {
  /** 32 hex digits: the name of the record file. */
  readonly key: string
  /** `veth` and 11 hex digits: 15 characters, the longest that the kernel takes. */
  readonly hostIfName: string
  readonly hostMac: Mac
  readonly podMac: Mac
}

/** Returns whether both are the same attachment. */
export function isSameAttachment(a: AttachmentId, b: AttachmentId): boolean {
  return a.network === b.network && a.containerId === b.containerId && a.ifName === b.ifName
}

/** Derives names from hash(network, container id, interface name). The same attachment always has the same names. */
export function deriveNames({ network, containerId, ifName }: AttachmentId): DerivedNames {
  // No part contains NUL, so two attachments never make the same input.
  const input = `${network}\0${containerId}\0${ifName}`
  if (latest?.input !== input) latest = { input, names: namesOf(sha256(input)) }
  return latest.names
}

/** A call derives the names of its own attachment nine times. */
let latest: { readonly input: string; readonly names: DerivedNames } | undefined

function namesOf(hash: string): DerivedNames {
  return {
    key: hash.slice(0, 32),
    hostIfName: hostIfNameOf(hash),
    hostMac: macFromHash(hash.slice(32, 44)),
    podMac: macFromHash(hash.slice(44, 56)),
  }
}

/** Returns `CONTAINER IFNAME`: the mark of an owner in the kernel, for people and for GC. */
export function ownerText({ containerId, ifName }: Pick<AttachmentId, 'containerId' | 'ifName'>): string {
  return `${containerId} ${ifName}`
}

/** Derives a locally administered MAC for a bridge of this name, stable for one boot of one node. */
export function deriveBridgeMac(bridge: string, bootId: string): Mac {
  return macFromHash(sha256(`bridge\0${bridge}\0${bootId}`))
}

/** Returns the name of the host's end for the key of an attachment, see `DerivedNames`. */
export function hostIfNameOf(key: string): string {
  return `veth${key.slice(0, 11)}`
}

/** Reports whether a text is a valid network name or container id. Source: CNI specification 1.1.0, section 1. */
export function isName(text: string, maxLength = Infinity): boolean {
  return text.length <= maxLength && /^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(text)
}

/** Returns whether a value may be the name of a network or the id of a container, and the name of a file. */
export function isCniName(value: unknown): value is string {
  return typeof value === 'string' && isName(value, MAX_FILE_NAME)
}

/** Explains the refusal of a name that the CNI specification allows: it sets no limit. */
export function tooLong({ length }: string, maxLength: number): string {
  return `has ${length} characters, more than the ${maxLength} of Bowline's own rule: files are named by it`
}

/** Reports whether the kernel accepts an interface name: 1 to 15 bytes without `/`, `:` and white space, not `.` or `..`. */
export function isInterfaceName(text: string): boolean {
  if (isPlainInterfaceName(text)) return true
  return !/^\.{0,2}$|[/:\s\x85\0]/.test(text) && textBytes(text).length <= MAX_INTERFACE_NAME
}

/**
 * Reports whether we create interfaces of this name: printable ASCII, since the kernel refuses some other letters, and
 * without `%`, which is a template to the kernel.
 */
export function isPlainInterfaceName(text: string): boolean {
  return text.length <= MAX_INTERFACE_NAME && text !== '.' && text !== '..' && /^[!-$&-.0-9;-~]+$/.test(text)
}

/** Returns 64 hex digits. */
export function sha256(text: string): string {
  return runtime.sha256(text)
}
