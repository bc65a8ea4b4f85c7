import type { Expression } from '../expression.ts'

/** `masquerade`: the source becomes the address of the interface that the packet leaves by. In chains of type nat and family inet. */
export const masquerade: Expression = { text: 'masquerade', kernel: [['masq', []]] }
