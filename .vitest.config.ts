import { defineConfig } from 'vitest/config'

/**
 * `unit` needs nothing; `system` needs root, a built binary and the tools that scripts/setup installs; `vm` needs the same
 * and boots virtual machines; `cluster` needs the same, and starts Kubernetes in namespaces.
 */
export default defineConfig({
  test: {
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
          // Each file has a node, mounts and processes of its own. The record of the reference is one file, which one process writes.
          maxWorkers: process.env['BOWLINE_REFERENCE'] === 'record' ? 1 : 2,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: 'vm',
          include: ['test/vm/**/*.test.ts'],
          testTimeout: 1_200_000,
          hookTimeout: 1_200_000,
          // Much of the time a machine is busy on one of its two processors only. After all other tests.
          maxWorkers: 2,
          sequence: { groupOrder: 2 },
        },
      },
      {
        test: {
          name: 'cluster',
          include: ['test/cluster/**/*.test.ts'],
          testTimeout: 180_000,
          hookTimeout: 180_000,
          // A cluster keeps both processors busy while it starts, and its components have timeouts of their own.
          fileParallelism: false,
          sequence: { groupOrder: 3 },
        },
      },
    ],
  },
})
