import { addressBytes, addressFromBytes } from '../../core/address.ts'
import type { VxlanOptions } from '../kernel.ts'
import type { Attributes, MessageWriter } from './message.ts'
import { Info, VXLAN_AGEING, Vxlan } from './rtnetlink.ts'

/** Writes the IFLA_LINKINFO of a new VXLAN link. */
export function writeVxlan(writer: MessageWriter, { vni, port, local, learning }: VxlanOptions): void {
  writer.attributeString(Info.kind, 'vxlan').nest(Info.data, () => {
    writer.attributeU32(Vxlan.vni, vni)
    if (local) writer.attribute(local.family === 4 ? Vxlan.local : Vxlan.local6, addressBytes(local))
    writer.attributeU8(Vxlan.learning, Number(learning)).attributeU16be(Vxlan.port, port)
  })
}

/** Writes the IFLA_LINKINFO that makes the tuning of a VXLAN link that of a new one. */
export function writeUntunedVxlan(writer: MessageWriter): void {
  writer.attributeString(Info.kind, 'vxlan').nest(Info.data, () => {
    writer.attributeU8(Vxlan.ttl, 0).attributeU8(Vxlan.tos, 0)
    writer.attributeU8(Vxlan.df, 0).attributeU32(Vxlan.label, 0).attributeU32(Vxlan.ageing, VXLAN_AGEING)
  })
}

/** Reads the IFLA_INFO_DATA of a VXLAN link. */
export function vxlanOf(data: Attributes): VxlanOptions {
  const local = data.get(Vxlan.local) ?? data.get(Vxlan.local6)
  const [high = 0, low = 0] = data.get(Vxlan.port) ?? []
  return {
    vni: data.u32(Vxlan.vni) ?? 0,
    port: 256 * high + low,
    learning: data.get(Vxlan.learning)?.[0] === 1,
    ...(local?.some((byte) => byte !== 0) && { local: addressFromBytes(local) }),
    ...unusual('tuning', data, ['ttl', 'tos', 'df', 'label', 'ageing']),
    ...unusual('extras', data, VXLAN_EXTRAS),
  }
}

type VxlanOption = keyof typeof Vxlan

/** What the kernel does not show is as in a new link; a flag is shown only if it is set. */
const VXLAN_EXTRAS: readonly VxlanOption[] = [
  'group',
  'group6',
  'link',
  'limit',
  'portRange',
  'proxy',
  'routeShortCircuit',
  'macMisses',
  'ipMisses',
  'udpChecksum',
  'noChecksum6Tx',
  'noChecksum6Rx',
  'remoteChecksumTx',
  'remoteChecksumRx',
  'remoteChecksumNoPartial',
  'groupPolicy',
  'collectMetadata',
  'gpe',
  'ttlInherit',
  'vniFilter',
  'localBypass',
]
/** What a new link has; 0 in all others. */
const VXLAN_USUAL: Partial<Record<VxlanOption, number>> = {
  ageing: VXLAN_AGEING,
  udpChecksum: 1,
  localBypass: 1,
}

function unusual<K extends string>(
  key: K,
  data: Attributes,
  options: readonly VxlanOption[],
): Partial<Record<K, string>> {
  const found = options.flatMap((option) => {
    const bytes = data.get(Vxlan[option])
    if (!bytes) return []
    const value = bytes.reduceRight((sum, byte) => 256 * sum + byte, 0)
    return bytes.length > 0 && value === (VXLAN_USUAL[option] ?? 0) ? [] : [`${option} ${bytes.join('.')}`]
  })
  return found.length > 0 ? ({ [key]: found.join(', ') } as Partial<Record<K, string>>) : {}
}
