import type { KernelExpression } from './expression.ts'
import { BitwiseAttr, DataAttr, REGISTER_1 } from './protocol.ts'

/** Turns a number of this machine in a register into network order. */
export function toNetworkOrder(register: number, length: number): KernelExpression {
  const size = Math.max(2, length)
  return [
    'byteorder',
    [
      [1, register],
      [2, register],
      [3, 1],
      [4, length],
      [5, size],
    ],
  ]
}

/** Keeps the bits of `kept` in register 1, then turns those of `turned`. */
export function keepAndTurn(kept: Uint8Array, turned: Uint8Array): KernelExpression {
  return [
    'bitwise',
    [
      [BitwiseAttr.source, REGISTER_1],
      [BitwiseAttr.target, REGISTER_1],
      [BitwiseAttr.operation, 0],
      [BitwiseAttr.length, kept.length],
      [BitwiseAttr.mask, [[DataAttr.value, kept]]],
      [BitwiseAttr.xor, [[DataAttr.value, turned]]],
    ],
  ]
}

/** The register that begins `words` words of 4 bytes after the first one: each of those of 16 bytes has a number of its own. */
export function registerAt(words: number): number {
  return words % 4 === 0 ? REGISTER_1 + words / 4 : 8 + words
}
