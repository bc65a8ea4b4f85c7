import {
  type Address,
  addressBytes,
  bracketedAddress,
  type Family,
  formatAddress,
} from '../../../core/address.ts'
import type { Attribute } from '../attributes.ts'
import { type Expression, type Field, immediate, type KernelExpression } from '../expression.ts'
import { inetService, type PortRange, portRange } from '../numbers.ts'
import { NFPROTO } from '../protocol.ts'
import { registerAt } from '../registers.ts'

/* Translation of addresses, in chains of type nat and family inet. */
const NatAttr = { type: 1, family: 2, address: 3, lastAddress: 4, port: 5, lastPort: 6, flags: 7 } as const
const MasqueradeAttr = { flags: 1, port: 2, lastPort: 3 } as const
const TYPES = { snat: 0, dnat: 1 } as const
/** NF_NAT_RANGE_*. */
const HAS_PORTS = 2
const FLAGS = { random: 4, persistent: 8, 'fully-random': 16 } as const
const WORDS_PER_REGISTER = 4

type NatFlag = keyof typeof FLAGS
type MasqueradeOptions = { readonly ports?: PortRange; readonly flags?: readonly NatFlag[] }
/** With ports, the rule must test the protocol before. */
type Target = MasqueradeOptions & { readonly address: Address }

/** `masquerade to :1024-2047 fully-random`: the source becomes the address of the interface that the packet leaves by. */
export function masqueradeTo({ ports, flags = [] }: MasqueradeOptions): Expression {
  const loads = ports ? loadPorts(ports, 0) : []
  const bits = flagsOf(flags, ports)
  const attributes: Attribute[] = [
    ...(bits ? [[MasqueradeAttr.flags, bits] as const] : []),
    ...portRegisters(loads, 0, MasqueradeAttr),
  ]
  const target = ports ? ` to :${portRange.show(ports)}` : ''
  return { text: [`masquerade${target}`, ...flags].join(' '), kernel: [...loads, ['masq', attributes]] }
}

/** `snat ip to 192.0.2.1:1024-2047` */
export function snat(target: Target): Expression {
  return translate('snat', target)
}

/** `dnat ip to 10.1.0.6:80` */
export function dnat(target: Target): Expression {
  return translate('dnat', target)
}

/** `dnat ip to ip daddr map @endpoints`: to the address, or the address and port, that the map has. */
export function dnatBy(family: Family, target: Field<Address | readonly [Address, number]>): Expression {
  const words = (target.type.parts?.[0]?.length ?? 0) / 4
  const attributes: Attribute[] = [
    ...head('dnat', family),
    ...(target.type.parts ? [[NatAttr.port, registerAt(words)] as const] : []),
  ]
  const kernel: KernelExpression[] = [...target.load(registerAt(0)), ['nat', attributes]]
  return { text: `dnat ${ip(family)} to ${target.text}`, kernel, needs: target.needs ?? [] }
}

function translate(type: keyof typeof TYPES, { address, ports, flags = [] }: Target): Expression {
  const loads = ports ? loadPorts(ports, 1) : []
  const bits = flagsOf(flags, ports)
  const attributes: Attribute[] = [
    ...head(type, address.family),
    ...portRegisters(loads, 1, NatAttr),
    ...(bits ? [[NatAttr.flags, bits] as const] : []),
  ]
  const kernel: KernelExpression[] = [
    immediate(registerAt(0), addressBytes(address)),
    ...loads,
    ['nat', attributes],
  ]
  const host = ports ? bracketedAddress(address) : formatAddress(address)
  const text = `${type} ${ip(address.family)} to ${host}${ports ? `:${portRange.show(ports)}` : ''}`
  return { text: [text, ...flags].join(' '), kernel }
}

function head(type: keyof typeof TYPES, family: Family): Attribute[] {
  return [
    [NatAttr.type, TYPES[type]],
    [NatAttr.family, NFPROTO[family]],
    [NatAttr.address, registerAt(0)],
  ]
}

/** One port, or the first and the last, each into a register of 16 bytes from number `first` on. */
function loadPorts({ from, to }: PortRange, first: number): KernelExpression[] {
  return [...new Set([from, to])].map((port, i) =>
    immediate(registerAt((first + i) * WORDS_PER_REGISTER), inetService.encode(port)),
  )
}

function portRegisters(
  loads: readonly unknown[],
  first: number,
  types: { readonly port: number; readonly lastPort: number },
): Attribute[] {
  return loads.map((_, i) => [
    i === 0 ? types.port : types.lastPort,
    registerAt((first + i) * WORDS_PER_REGISTER),
  ])
}

function flagsOf(flags: readonly NatFlag[], ports: PortRange | undefined): number {
  return flags.reduce((sum, flag) => sum | FLAGS[flag], ports ? HAS_PORTS : 0)
}

function ip(family: Family): string {
  return family === 4 ? 'ip' : 'ip6'
}
