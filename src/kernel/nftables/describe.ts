import { addressFromBytes, formatAddress } from '../../core/address.ts'
import { readString } from '../netlink/message.ts'
import type { NftCommand, NftElementRef } from './commands.ts'

/** A command in the words that nft uses, for error messages: `add element inet bowline masquerade4 { 10.1.0.5 }`. */
export function describeNftCommand(command: NftCommand): string {
  const table = `inet ${command.table}`
  switch (command.op) {
    case 'ensureTable':
      return `add table ${table}`
    case 'removeTable':
      return `delete table ${table}`
    case 'ensureChain':
      return `add chain ${table} ${command.chain}`
    case 'flushChain':
      return `flush chain ${table} ${command.chain}`
    case 'removeChain':
      return `delete chain ${table} ${command.chain}`
    case 'addRule':
      return `add rule ${table} ${command.chain}`
    case 'ensureMap':
      return `add map ${table} ${command.map}`
    case 'removeMap':
      return `delete map ${table} ${command.map}`
    case 'addElement':
      return `add element ${describeElement(command)} : goto ${command.goto}`
    case 'removeElement':
      return `delete element ${describeElement(command)}`
  }
}

export function describeElement({ table, map, key }: NftElementRef): string {
  return `inet ${table} ${map} { ${describeKey(key)} }`
}

/** 16 bytes are an interface name if they are letters up to a NUL, and an IPv6 address otherwise. */
function describeKey(key: Uint8Array): string {
  const name = readString(key)
  if (
    key.length === 16 &&
    /^[\x21-\x7e]+$/.test(name) &&
    key.subarray(name.length).every((byte) => byte === 0)
  )
    return name
  return key.length === 4 || key.length === 16 ? formatAddress(addressFromBytes(key)) : `${key.length} bytes`
}
