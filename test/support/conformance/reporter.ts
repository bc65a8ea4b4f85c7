import type { Reporter, TestModule } from 'vitest/node'
import { SUITE } from './names.ts'
import { formatTable, type NamedOutcome } from './table.ts'

declare module 'vitest' {
  interface TaskMeta {
    /** The names of conformance cases that the kernel of this machine can't run. */
    elsewhere?: readonly string[]
  }
}

/** The whole table is some 280 lines, which would push everything else out of sight at the end of a log. */
const all = process.env['BOWLINE_TABLE'] === '1'

/**
 * Prints the conformance cases that failed and the counts of all; with BOWLINE_TABLE=1 every case. Prints nothing when no
 * case was run.
 */
// biome-ignore lint/style/noDefaultExport: vitest takes a reporter by its default export only
export default class ConformanceReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const outcomes = modules.flatMap(outcomesOf)
    if (outcomes.length > 0) console.log(`\n${formatTable(outcomes, { all })}\n`)
  }
}

function outcomesOf(module: TestModule): NamedOutcome[] {
  const tests = [...module.children.allTests()].filter(
    ({ parent }) => parent.type === 'suite' && parent.name === SUITE,
  )
  return tests.flatMap((test): NamedOutcome[] => {
    const { state } = test.result()
    const own: NamedOutcome[] = state === 'passed' || state === 'failed' ? [{ name: test.name, state }] : []
    const elsewhere = (test.meta().elsewhere ?? []).map(
      (name): NamedOutcome => ({ name, state: 'elsewhere' }),
    )
    return [...own, ...elsewhere]
  })
}
