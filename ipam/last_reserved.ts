import { type Address, parseAddress, sameAddress } from '../src/core/address.ts'
import type { Files } from '../src/core/files.ts'
import { asHint, type FreeList } from './free_list.ts'

/** Where host-local keeps the address that it handed out last of a range set; we keep it up to date. */
export function lastReservedPath(dir: string, index: number): string {
  return `${dir}/last_reserved_ip.${index}`
}

/** Undefined if there is none, or none that can be read. */
export function readLastReserved(files: Files, dir: string, index: number): Address | undefined {
  const text = files.read(lastReservedPath(dir, index))?.trim()
  if (!text) return undefined
  return asHint(() => parseAddress(text))
}

/** Whether nobody but us has handed out addresses since these lists, one for each set, were written. */
export function isUntouched(
  lists: readonly (FreeList | undefined)[],
  lasts: readonly (Address | undefined)[],
): boolean {
  return lists.every((list, i) => list && isSame(list.cursor, lasts[i]))
}

function isSame(a: Address | undefined, b: Address | undefined): boolean {
  return a === undefined || b === undefined ? a === b : sameAddress(a, b)
}
