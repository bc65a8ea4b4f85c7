import { writeStandardOutput } from '../../src/kernel/linux/stdio.ts'

/*
 * A program for the executable's engine: calls what the host offers with arguments that no caller of ours would use, in an order
 * that a seed decides. No call has an effect: the numbers are of system calls that take nothing, or that do not exist.
 */
declare const host: Readonly<
  Record<'syscall' | 'addressOf' | 'attribute' | 'utf8' | 'sha256', (...args: unknown[]) => unknown>
>

const HARMLESS = [39, 9999, 1 << 30]
const ROUNDS = 20_000

export function main(args: readonly string[]): number {
  const random = generator(Number(args[1] ?? 1))
  const pick = <T>(values: readonly T[]) => values[random(values.length)] as T
  let thrown = 0
  for (let round = 0; round < ROUNDS; round++) {
    const given = Array.from({ length: random(10) }, () => pick(VALUES)())
    try {
      if (random(2) === 0) host.syscall(pick(HARMLESS), ...given)
      else
        pick([host.addressOf, host.attribute, host.utf8, host.sha256, host.syscall.bind(null, 9999)])(
          ...given,
        )
    } catch {
      thrown++
    }
  }
  writeStandardOutput(JSON.stringify({ rounds: ROUNDS, someWereRefused: thrown > 0 && thrown < ROUNDS }))
  return 0
}

const VALUES: readonly (() => unknown)[] = [
  () => 0,
  () => -1,
  () => 2 ** 53,
  () => -(2 ** 53),
  () => 2 ** 63,
  () => Number.NaN,
  () => -Infinity,
  () => 0.1,
  () => '',
  () => 'text',
  () => '\0',
  () => '\ud800',
  () => 'x'.repeat(100_000),
  () => `${'rope'.repeat(10)}é`,
  () => new Uint8Array(),
  () => new Uint8Array(100_000),
  () => new Uint8Array(8).subarray(8),
  () => detached(),
  () => new Uint16Array(3),
  () => new DataView(new ArrayBuffer(4)),
  () => new ArrayBuffer(4),
  () => Symbol('s'),
  () => 10n,
  () => null,
  () => undefined,
  () => true,
  () => [],
  () => ({ valueOf: () => 1 }),
  () => ({
    toString() {
      throw new Error('no text')
    },
  }),
  () => Object.create(null),
  () => () => 1,
]

function detached(): Uint8Array {
  const bytes = new Uint8Array(16)
  bytes.buffer.transfer()
  return bytes
}

/** A linear congruential generator, good enough to vary. */
function generator(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}
