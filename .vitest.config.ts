import { existsSync } from 'node:fs'
import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** The files that take longest, longest first: one that begins last would keep one processor busy and the other idle. */
const LONGEST = [
  ...[
    'vm/suites',
    'cluster/install',
    'vm/power_cut',
    'cluster/disturbances',
    'vm/attachment',
    'cluster/one_node',
  ],
  ...['vm/vlan', 'vm/without_nftables', 'cluster/mesh_first'],
  ...['system/crash/kill', 'system/crash/errors', 'system/crash/stopped', 'system/executable/native_host'],
  ...['system/crash/churn', 'system/executable/bench'],
]

const moved = LONGEST.find((name) => !existsSync(`${import.meta.dirname}/test/${name}.test.ts`))
if (moved) throw new Error(`there is no test/${moved}.test.ts: correct the list LONGEST in .vitest.config.ts`)

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rankOf = ({ moduleId }: TestSpecification) => {
      const rank = LONGEST.findIndex((name) => moduleId.endsWith(`/${name}.test.ts`))
      return rank < 0 ? LONGEST.length : rank
    }
    return (await super.sort(files)).toSorted((a, b) => rankOf(a) - rankOf(b))
  }
}

/** Virtual machines keep processors busy and clusters mostly wait: so they run beside each other, after all other tests. */
const LAST = { maxWorkers: 3, sequence: { groupOrder: 2 } }

/**
 * `unit` needs nothing; `system` needs root, a built binary and the tools that scripts/setup installs; `vm` needs the same
 * and boots virtual machines; `cluster` needs the same, and starts Kubernetes in namespaces.
 */
export default defineConfig({
  test: {
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        test: {
          name: 'unit',
          // Whatever is not one of the others, so that a folder of its own is not forgotten.
          include: ['test/**/*.test.ts'],
          exclude: ['test/{cluster,conformance,system,vm}/**'],
          testTimeout: 20_000,
        },
      },
      {
        test: {
          name: 'system',
          include: ['test/system/**/*.test.ts', 'test/conformance/**/*.test.ts'],
          testTimeout: 120_000,
          hookTimeout: 300_000,
          // Each file has a node, mounts and processes of its own, and about half of its time is waiting: for the kernel to find no
          // duplicate address, for a lock, for a packet that must not come. The record of the reference is one file, which one
          // process writes.
          maxWorkers: process.env['BOWLINE_REFERENCE'] === 'record' ? 1 : 3,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: 'vm',
          include: ['test/vm/**/*.test.ts'],
          testTimeout: 1_200_000,
          hookTimeout: 1_200_000,
          ...LAST,
        },
      },
      {
        test: {
          name: 'cluster',
          include: ['test/cluster/**/*.test.ts'],
          testTimeout: 180_000,
          hookTimeout: 180_000,
          ...LAST,
        },
      },
    ],
  },
})
