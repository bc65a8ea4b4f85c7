import { resolve } from 'node:path'
import { AMD64 } from './architecture.ts'
import { librariesOf, type MoreFiles } from './image.ts'
import type { Vm } from './machine.ts'
import { LOAD_NFTABLES } from './node.ts'

/** Longer than any suite takes, on a machine that has much else to do. */
const TIMEOUT_MS = 800_000

/** How a suite has ended in the machine. The log has all but the tests that passed. */
export type SuiteOutcome = { readonly passed: number; readonly failed: number; readonly log: string }

/** For `useVms`: suites below test/, such as `system/kernel/links`, and Bun, whose own test runner takes the place of vitest. */
export async function suiteFiles(names: readonly string[]): Promise<MoreFiles> {
  const suites = names.map(async (name) => [`suites/${name}.test.js`, await bundle(name)] as const)
  const libraries = librariesOf(AMD64, process.execPath).map((path) => [path.slice(1), path])
  return {
    'bin/bun': process.execPath,
    ...Object.fromEntries([...libraries, ...(await Promise.all(suites))]),
  }
}

/** Bun's runner tells a test and a hook nothing of the test, and takes one with a parameter for one that calls back. */
const BUN_TEST = `
import * as bun from 'bun:test'
export const { afterAll, afterEach, beforeAll, describe, expect, vi } = bun
const task = { name: '', file: { filepath: '' } }
const told = (work) => async () => void (await work({ task }))
export const beforeEach = (hook) => bun.beforeEach(told(hook))
export const it = Object.assign((name, test, options) => bun.it(name, told(test), options), { each: (...table) => bun.it.each(...table) })
`

/** One script of a suite and of all that it imports. */
async function bundle(name: string): Promise<Uint8Array> {
  const { outputs } = await Bun.build({
    entrypoints: [resolve(import.meta.dirname, `../../${name}.test.ts`)],
    target: 'bun',
    plugins: [
      {
        name: 'vitest-is-bun-test',
        setup(build) {
          build.onResolve({ filter: /^vitest$/ }, () => ({ path: 'vitest', namespace: 'bun-test' }))
          build.onResolve({ filter: /^bun:test$/ }, () => ({ path: 'bun:test', external: true }))
          build.onLoad({ filter: /./, namespace: 'bun-test' }, () => ({ contents: BUN_TEST, loader: 'js' }))
        },
      },
    ],
  })
  const [script] = outputs
  if (!script) throw new Error(`nothing was made of the suite ${name}`)
  return new Uint8Array(await script.arrayBuffer())
}

/** Runs suites, each in namespaces of its own: those of a row one after the other, the rows at the same time. */
export async function runSuites(
  vm: Vm,
  rows: readonly (readonly string[])[],
): Promise<Map<string, SuiteOutcome>> {
  const run = (name: string) => `unshare -n -m bun test --timeout 300000 ./${name}.test.js >${name}.log 2>&1`
  const lines = rows.map((names) => `{ ${names.map(run).join('; ')}; } &`)
  const environment = 'export BOWLINE_BINARY=/opt/cni/bin/bowline BOWLINE_CACHE=/opt/cni; cd /suites'
  await vm.sh([LOAD_NFTABLES, environment, ...lines, 'wait'].join('\n'), { timeoutMs: TIMEOUT_MS })
  const outcomes = new Map<string, SuiteOutcome>()
  for (const name of rows.flat()) outcomes.set(name, outcomeOf(await vm.sh(`cat /suites/${name}.log`)))
  return outcomes
}

/** Source: the last lines of what `bun test` prints. */
function outcomeOf(output: string): SuiteOutcome {
  const count = (what: string) => Number(new RegExp(`^ *(\\d+) ${what}$`, 'm').exec(output)?.[1] ?? 0)
  const lines = output.split('\n').filter((line) => !line.startsWith('(pass)'))
  return { passed: count('pass'), failed: count('fail'), log: lines.join('\n') }
}
