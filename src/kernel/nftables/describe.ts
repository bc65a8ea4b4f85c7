import { addressFromBytes, bitsOf, formatAddress, formatCidr, networkOf } from '../../core/address.ts'
import { macFromBytes } from '../../core/mac.ts'
import { readString } from '../netlink/message.ts'
import type {
  NftChainRef,
  NftCommand,
  NftElement,
  NftElementRef,
  NftExpression,
  NftHook,
  NftMapRef,
  NftTableRef,
} from './commands.ts'
import { printableComment } from './element.ts'

/** The longest name of an interface, in bytes. */
const MAX_IFNAME = 15

/** A command as nft reads it, for error messages and for people to type: `add element inet bowline pods { 10.1.0.5 … }`. */
export function describeNftCommand(command: NftCommand): string {
  switch (command.op) {
    case 'ensureTable':
      return `add table ${describeTable(command)}`
    case 'removeTable':
      return `delete table ${describeTable(command)}`
    case 'ensureChain':
      return `add chain ${describeChain(command)}${command.hook ? ` ${describeHook(command.hook)}` : ''}`
    case 'flushChain':
      return `flush chain ${describeChain(command)}`
    case 'removeChain':
      return `delete chain ${describeChain(command)}`
    case 'addRule':
      return `add rule ${describeChain(command)} ${command.rule.map(describeExpression).join(' ')}`
    case 'ensureMap':
      return `add map ${describeMap(command)} { type ${command.key} : verdict;${command.interval ? ' flags interval;' : ''} }`
    case 'removeMap':
      return `delete map ${describeMap(command)}`
    case 'addElement':
      return `add element ${describeElement(command)}`
    case 'removeElement':
      return `delete element ${describeElement(command)}`
  }
}

/** `inet bowline pods { 10.1.0.5 }`, and where it leads if that is said. */
export function describeElement(element: NftElementRef | NftElement): string {
  const { key, prefix } = element
  const comment =
    'comment' in element && element.comment ? ` comment "${printableComment(element.comment)}"` : ''
  const target = 'goto' in element ? `${comment} : goto ${element.goto}` : ''
  return `${describeMap(element)} { ${describeKey(key)}${prefix === undefined ? '' : `/${prefix}`}${target} }`
}

export function describeChain({ chain, ...table }: NftChainRef): string {
  return `${describeTable(table)} ${chain}`
}

/** `inet bowline pods`. */
export function describeMap({ map, ...table }: NftMapRef): string {
  return `${describeTable(table)} ${map}`
}

function describeTable({ family = 'inet', table }: NftTableRef): string {
  return `${family} ${table}`
}

function describeHook({ type, hook, priority }: NftHook): string {
  return `{ type ${type} hook ${hook} priority ${priority}; }`
}

function describeExpression(expression: NftExpression): string {
  if ('verdict' in expression) return expression.verdict
  switch (expression.match) {
    case 'saddrVmap':
      return `${IP[expression.family]} saddr vmap @${expression.map}`
    case 'daddr':
      return describeDestination(expression.address, expression.prefix)
    case 'iifnameVmap':
      return `iifname vmap @${expression.map}`
    case 'etherSaddr':
      return `ether saddr ${macFromBytes(expression.mac)}`
  }
}

const IP = { 4: 'ip', 6: 'ip6' } as const

function describeDestination(bytes: Uint8Array, prefix: number): string {
  const address = addressFromBytes(bytes)
  const whole = prefix === bitsOf(address.family)
  const text = whole ? formatAddress(address) : formatCidr(networkOf({ address, prefix }))
  return `${IP[address.family]} daddr ${text}`
}

/** 16 bytes are an interface name if they are letters up to a NUL, and an IPv6 address otherwise. */
function describeKey(key: Uint8Array): string {
  const name = readString(key)
  const padded = name.length <= MAX_IFNAME && key.subarray(name.length).every((byte) => byte === 0)
  if (key.length === 16 && padded && /^[\x21-\x7e]+$/.test(name)) return JSON.stringify(name)
  return key.length === 4 || key.length === 16 ? formatAddress(addressFromBytes(key)) : `${key.length} bytes`
}
