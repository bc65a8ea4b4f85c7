import { writeFileSync } from 'node:fs'
import type { SerializedError } from 'vitest'
import type { Reporter, TestModule, Vitest } from 'vitest/node'

/**
 * Counts for the closing line of scripts/test. A test that was skipped counts as failed, since a skipped test proves
 * nothing; so do a file that could not be loaded and an error outside of any test.
 */
// biome-ignore lint/style/noDefaultExport: vitest takes a reporter by its default export only
export default class CountReporter implements Reporter {
  #nameFilter = false

  onInit(vitest: Vitest): void {
    this.#nameFilter = vitest.config.testNamePattern !== undefined
  }

  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly SerializedError[]): void {
    let passed = 0
    let failed = unhandledErrors.length
    for (const module of modules) {
      failed += module.errors().length
      for (const test of module.children.allTests()) {
        const { state } = test.result()
        if (state === 'passed') passed += 1
        // With `-t NAME` all other tests are skipped, as was asked for.
        else if (state === 'failed' || !this.#nameFilter) failed += 1
        if (state === 'skipped' && !this.#nameFilter) console.log(`skipped: ${test.fullName}`)
      }
      for (const suite of module.children.allSuites()) failed += suite.errors().length
    }
    if (passed + failed === 0) {
      console.log('no test was run')
      failed = 1
    }
    const file = process.env['BOWLINE_COUNT_FILE']
    if (file) writeFileSync(file, `${passed} passed, ${failed} failed\n`)
  }
}
