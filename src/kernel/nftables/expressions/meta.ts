import type { Family } from '../../../core/address.ts'
import { type Datatype, ifname } from '../datatypes.ts'
import { Cmp, compare, type Expression, type Field } from '../expression.ts'
import { MetaAttr, NFPROTO, REGISTER_1 } from '../protocol.ts'

/* What the kernel knows of a packet beside its bytes. The numbers are NFT_META_*. Source: linux/netfilter/nf_tables.h. */

/** The interface that the packet came in by. */
export const iifname = metaField('iifname', 6, ifname)

/** A chain of family inet sees both families, so an address means nothing before the family is known. */
export function isFamily(family: Family): Expression {
  const text = `meta nfproto ${family === 4 ? 'ipv4' : 'ipv6'}`
  return { text, kernel: [...metaLoad(15, REGISTER_1), compare(Cmp.eq, Uint8Array.of(NFPROTO[family]))] }
}

export function metaField<T>(text: string, key: number, type: Datatype<T>): Field<T> {
  return { text, type, load: (register) => metaLoad(key, register) }
}

function metaLoad(key: number, register: number): ReturnType<Field<unknown>['load']> {
  return [
    [
      'meta',
      [
        [MetaAttr.key, key],
        [MetaAttr.target, register],
      ],
    ],
  ]
}
