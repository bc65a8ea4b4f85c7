import { type Address, type Cidr, formatAddress, formatCidr } from '../../src/core/address.ts'

/** Returns a decoded configuration with its addresses and prefixes as text again, to compare it with the JSON. */
export function asText(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(asText)
  if (typeof value !== 'object' || value === null) return value
  if (isAddress(value)) return formatAddress(value)
  if (isCidr(value)) return formatCidr(value)
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, asText(member)]))
}

function isAddress(value: object): value is Address {
  return 'family' in value && 'value' in value && typeof value.value === 'bigint'
}

function isCidr(value: object): value is Cidr {
  return 'prefix' in value && 'address' in value && isAddress(value.address as object)
}
