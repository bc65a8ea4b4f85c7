import { runtime } from '#runtime'
import { writeStandardOutput } from '../../src/kernel/linux/stdio.ts'
import { runCases } from './runtime.ts'

/** A program for the executable's engine: prints what the cases of the contract show there. */
export function main(): number {
  writeStandardOutput(JSON.stringify(runCases(runtime)))
  return 0
}
