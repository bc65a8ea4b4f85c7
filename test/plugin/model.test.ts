import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { playScript } from '../support/node_model.ts'
import { describeScript, scripts } from '../support/node_script.ts'

/*
 * Many pods on two networks of one node, and everything that may go wrong at any step: kills, errnos, another process in
 * between, reboots, namespaces that go, files that somebody has emptied. After each event every live pod is whole, no
 * address is held twice, and the other network is as it was to the byte; in the end nothing is left and no address is lost.
 *
 * A failure is made as short as possible and printed as a script, with the command that plays it again:
 *   BOWLINE_SEED=… BOWLINE_PATH=… npm run test:unit -- test/plugin/model.test.ts
 * BOWLINE_RUNS is the number of scripts (BOWLINE_RUNS=20000 for a night). One seed is always the same, one is drawn.
 */

const FIXED_SEED = 20_251
const RUNS = Number(process.env['BOWLINE_RUNS'] ?? 120)
const MAX_EVENTS = 30
const given = process.env['BOWLINE_SEED']
const path = process.env['BOWLINE_PATH']
const seeds = given ? [Number(given)] : [FIXED_SEED, Math.floor(Math.random() * 2 ** 31)]

describe.each(seeds)('with seed %i', (seed) => {
  it('no address is held twice, no pod is harmed, and nothing is left', {
    timeout: 60_000 + 1000 * RUNS,
  }, () => {
    const property = fc.property(scripts(MAX_EVENTS), playScript)
    const details = fc.check(property, { seed, numRuns: RUNS, ...(path && { path, numRuns: 1 }) })
    if (!details.failed) return
    const [script] = details.counterexample ?? []
    const replay = `BOWLINE_SEED=${seed} BOWLINE_PATH=${details.counterexamplePath}`
    const what = details.errorInstance instanceof Error ? details.errorInstance.message : 'it took too long'
    expect.fail(
      `${what}\n\n${script ? describeScript(script) : ''}\n\nAgain: ${replay} npm run test:unit -- test/plugin/model.test.ts`,
    )
  })
})
