import { beforeAll, expect, it } from 'vitest'
import { useVms } from '../support/vm/machine.ts'
import { runSuites, type SuiteOutcome, suiteFiles } from '../support/vm/suite.ts'

/*
 * System suites on the kernel of the distribution: older than that of most machines that run the tests, and built with
 * VLANs, which kernels of small virtual machines lack.
 */
const ROWS = [
  ['system/kernel/kernel_contract'],
  ['conformance/vlan', 'system/kernel/links', 'system/kernel/nftables', 'system/bridge/mac_check'],
]

const vms = useVms({ more: await suiteFiles(ROWS.flat()) })
let outcomes: Map<string, SuiteOutcome>

beforeAll(async () => {
  outcomes = await runSuites(await vms.boot(), ROWS)
})

// At least so many tests, so that one that does not run is noticed.
it.each([
  ['system/kernel/kernel_contract', 150],
  ['system/kernel/links', 20],
  ['system/kernel/nftables', 10],
  ['system/bridge/mac_check', 5],
  ['conformance/vlan', 40],
])('the suite %s passes on the kernel of the distribution', (name, least) => {
  const { passed, failed, log } = outcomes.get(name) ?? { passed: 0, failed: 0, log: 'it did not run' }
  expect(failed, log).toBe(0)
  expect(passed, log).toBeGreaterThanOrEqual(least)
})
