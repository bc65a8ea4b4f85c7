import { type Address, formatAddress, parseAddress } from '../src/core/address.ts'
import type { Files } from '../src/core/files.ts'
import { isBlank } from '../src/core/text.ts'

/*
 * Leases in host-local's layout: one file an address, named after it, below `<dataDir>/<network>/`, with the text
 * `<container id>\r\n<interface>`. Old releases of host-local wrote the container id alone.
 */

/** Whose a lease is: the container and the interface. */
export type Owner = { readonly containerId: string; readonly ifName: string }

/** Who holds an address, as far as its lease file says. */
export type LeaseOwner = {
  readonly address: Address
  readonly containerId: string
  /** Absent in the old form. */
  readonly ifName?: string
}

/** Whose a lease is, to one owner. */
export type Ownership = 'ours' | 'ours in the old form' | 'nobody' | 'another'

export function leasePath(dir: string, address: Address): string {
  return `${dir}/${formatAddress(address)}`
}

/** Returns the whole text of a lease file. */
export function leaseText({ containerId, ifName }: Owner): string {
  return `${containerId}\r\n${ifName}`
}

/**
 * Compares as host-local does, without white space at the ends. A missing file is nobody's, and so is an empty one:
 * host-local was killed before it wrote the text (plugins#498). Call it under the pool's lock: without it, host-local may
 * be about to write.
 */
export function ownershipOf(text: string | undefined, owner: Owner): Ownership {
  const trimmed = meaningOf(text)
  if (trimmed === '') return 'nobody'
  if (trimmed === leaseText(owner)) return 'ours'
  return trimmed === owner.containerId ? 'ours in the old form' : 'another'
}

/** Returns the text of a lease without white space around it, '' for a file without content. */
export function meaningOf(text = ''): string {
  return isBlank(text) ? '' : text.trim()
}

/** Returns the owner that a lease names; undefined if it names nobody. */
export function ownerOf(address: Address, text: string): LeaseOwner | undefined {
  const [containerId = '', ifName] = meaningOf(text).split('\r\n')
  if (containerId === '') return undefined
  return { address, containerId, ...(ifName !== undefined && { ifName }) }
}

/** Returns the addresses that have a lease file, empty ones too, in no order. Other files in the directory are no leases. */
export function leasedAddresses(files: Files, dir: string): Address[] {
  return files.list(dir).flatMap((name) => addressOfName(name) ?? [])
}

function addressOfName(name: string): Address | undefined {
  if (!/^[0-9a-f][0-9a-f.:]*$|^::/.test(name)) return undefined
  try {
    const address = parseAddress(name)
    return formatAddress(address) === name ? address : undefined
  } catch {
    return undefined
  }
}
