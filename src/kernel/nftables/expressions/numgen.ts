import type { Field } from '../expression.ts'
import { integer } from '../numbers.ts'

const MODES = { inc: 0, random: 1 } as const

/** `numgen random mod 2`: a number below `modulus`, by chance or in turn. */
export function numgen(mode: keyof typeof MODES, modulus: number): Field<number> {
  return {
    text: `numgen ${mode} mod ${modulus}`,
    type: integer,
    load: (register) => [
      [
        'numgen',
        [
          [1, register],
          [2, modulus],
          [3, MODES[mode]],
          [4, 0],
        ],
      ],
    ],
  }
}
