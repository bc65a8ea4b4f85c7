import { randomUUID } from 'node:crypto'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/* Control groups belong to the machine: they outlive the namespaces of a test, so each test removes its own. */

const ROOT = '/sys/fs/cgroup'
const PREFIX = 'bowline-test-'

/** Decides whether the machine has the one hierarchy of version 2 for all controllers. */
export const CGROUP_V2 = existsSync(join(ROOT, 'cgroup.controllers'))

/** Returns a name that no other test run uses for its control groups. scripts/test removes those of its number. */
export function newCgroupName(): string {
  return `${PREFIX}${process.env['BOWLINE_TEST_RUN']}-${randomUUID()}`
}

/** Creates a control group in each hierarchy, with all that the machine has; returns their directories. */
export function createCgroups(name: string): string[] {
  if (CGROUP_V2) writeFileSync(join(ROOT, 'cgroup.subtree_control'), '+cpu +cpuset +memory +pids')
  return hierarchies().map((hierarchy) => {
    const path = join(hierarchy, name)
    mkdirSync(path, { recursive: true })
    // A new group has no processors and no memory in version 1.
    for (const file of basename(hierarchy) === 'cpuset' ? ['cpuset.cpus', 'cpuset.mems'] : [])
      writeFileSync(join(path, file), readFileSync(join(hierarchy, file)))
    return path
  })
}

/** Removes the control groups with this name, and those below them. The kernel empties groups of killed processes soon. */
export async function removeCgroups(name: string): Promise<void> {
  // Also in one without controllers: with both versions mounted, runc uses /sys/fs/cgroup/unified as well.
  for (const hierarchy of [ROOT, ...readdirSync(ROOT).map((path) => join(ROOT, path))])
    await removeCgroup(join(hierarchy, name))
}

/** Returns `/sys/fs/cgroup` itself (version 2), or its directories with controllers (version 1). */
function hierarchies(): string[] {
  if (CGROUP_V2) return [ROOT]
  return readdirSync(ROOT)
    .map((name) => join(ROOT, name))
    .filter((path) => lstatSync(path).isDirectory() && existsSync(join(path, 'tasks')))
}

async function removeCgroup(path: string): Promise<void> {
  if (!existsSync(path)) return
  const below = readdirSync(path, { withFileTypes: true }).filter((entry) => entry.isDirectory())
  for (const { name } of below) await removeCgroup(join(path, name))
  for (let attempt = 0; ; attempt += 1) {
    try {
      rmdirSync(path)
      return
    } catch (error) {
      if (attempt === 100) throw error
      await sleep(50)
    }
  }
}
