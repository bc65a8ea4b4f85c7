import { ifname } from '../datatypes.ts'
import { integer } from '../numbers.ts'
import { metaField } from './meta.ts'

/** The interface that the packet leaves by; see `iifname`. */
export const oifname = metaField('oifname', 7, ifname)
/** Indexes of links. */
export const iif = metaField('iif', 4, integer)
export const oif = metaField('oif', 5, integer)
/** Groups of links. */
export const iifgroup = metaField('iifgroup', 21, integer)
export const oifgroup = metaField('oifgroup', 22, integer)
