import { writeFileSync } from 'node:fs'
import { stripVTControlCharacters } from 'node:util'
import type { SerializedError } from 'vitest'
import type { Reporter, TestModule, Vitest } from 'vitest/node'

/** Of each error. The whole of it is further up in the log. */
const MESSAGE_LINES = 6
/** So that the end of a log holds them all, also when everything fails. */
const MAX_FAILURES = 15

type Failure = { readonly where: string; readonly errors: readonly { readonly message: string }[] }

/**
 * Counts for the closing line of scripts/test, and prints the failures again just before it. A test that was skipped counts as
 * failed, since a skipped test proves nothing; so do a file that could not be loaded and an error outside of any test.
 */
// biome-ignore lint/style/noDefaultExport: vitest takes a reporter by its default export only
export default class CountReporter implements Reporter {
  #nameFilter = false

  onInit(vitest: Vitest): void {
    this.#nameFilter = vitest.config.testNamePattern !== undefined
  }

  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly SerializedError[]): void {
    const failures = [
      ...modules.flatMap((module) => this.#failuresOf(module)),
      ...unhandledErrors.map((error) => ({ where: 'outside of any test', errors: [error] })),
    ]
    const tests = modules.flatMap((module) => [...module.children.allTests()])
    const passed = tests.filter((test) => test.result().state === 'passed').length
    if (passed + failures.length === 0) failures.push({ where: 'no test was run', errors: [] })
    if (failures.length > 0) console.log(format(failures))
    const file = process.env['BOWLINE_COUNT_FILE']
    if (file) writeFileSync(file, `${passed} passed, ${failures.length} failed\n`)
  }

  #failuresOf(module: TestModule): Failure[] {
    const name = module.relativeModuleId
    const whole = module.errors().map((error) => ({ where: name, errors: [error] }))
    const suites = [...module.children.allSuites()].flatMap((suite) =>
      suite.errors().map((error) => ({ where: `${name} > ${suite.fullName}`, errors: [error] })),
    )
    const tests = [...module.children.allTests()].flatMap((test): Failure[] => {
      const { state, errors = [] } = test.result()
      const where = `${name} > ${test.fullName}`
      if (state === 'failed') return [{ where, errors }]
      // With `-t NAME` all other tests are skipped, as was asked for.
      return state === 'passed' || this.#nameFilter
        ? []
        : [{ where, errors: [{ message: `the test is ${state}` }] }]
    })
    return [...whole, ...suites, ...tests]
  }
}

function format(failures: readonly Failure[]): string {
  const shown = failures
    .slice(0, MAX_FAILURES)
    .flatMap(({ where, errors }) => [
      `FAILED ${where}`,
      ...errors
        .flatMap(({ message }) =>
          stripVTControlCharacters(message).trim().split('\n').slice(0, MESSAGE_LINES),
        )
        .map((line) => `  ${line.slice(0, 300)}`),
    ])
  const more = failures.length - MAX_FAILURES
  return ['', ...shown, ...(more > 0 ? [`and ${more} more, see above`] : []), ''].join('\n')
}
