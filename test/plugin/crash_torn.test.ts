import { describe, it } from 'vitest'
import { DEFAULT_PATHS } from '../../src/plugin/ports.ts'
import { createFakeNode, type FakeNode, L2, L3 } from '../fakes/node.ts'
import { gcConfig } from '../support/fault_modes.ts'
import { atEachStep, KILLS, type Outcome } from '../support/fault_sweep.ts'
import { expectNothing, expectSuccess, expectWhole, heldAddresses } from '../support/node_expectations.ts'

/*
 * Nothing is written through to the disk (fsync), so a power failure may leave any file of the last calls empty, cut
 * short, full of zeros or missing. The next boot must not care.
 */

const TEARS: Record<string, (files: FakeNode['files'], path: string) => void> = {
  empty: (files, path) => files.replace(path, ''),
  'cut short': (files, path) => files.replace(path, (files.read(path) ?? '').slice(0, 9)),
  'full of zeros': (files, path) => files.replace(path, '\0'.repeat((files.read(path) ?? '').length)),
  missing: (files, path) => void files.remove(path),
}

describe.each(Object.entries({ l3: L3, l2: L2 }))('%s', (_, config) => {
  describe.each(Object.entries(TEARS))('a power failure that leaves a file %s', (how, tear) => {
    /** One node for each file that an ADD and a DEL leave. */
    const eachTorn = (verify: (struck: Outcome) => void): void => {
      const begin = (): FakeNode => {
        const node = createFakeNode()
        node.call('ADD', { config, containerId: 'gone' })
        node.call('DEL', { config, containerId: 'gone' })
        return node
      }
      const add = (node: FakeNode) => node.call('ADD', { config })
      // Which file is torn goes by the number of the step.
      atEachStep(begin, add, { ...KILLS, everyStep: true }, ({ node, answer, where }) => {
        const paths = Object.keys(node.files.dump()).filter((path) => !path.endsWith('/'))
        const path = paths[node.steps() % paths.length] ?? ''
        // What was made later reaches the disk later: without its record there is no lease.
        if (how === 'missing' && path.includes('/bowline/net/')) removeLeases(node)
        tear(node.files, path)
        node.reboot()
        verify({ node, answer, where: `${where}; torn: ${path}` })
      })
    }

    it('leaves a node on which ADD and DEL work', () => {
      eachTorn((struck) => {
        expectSuccess(struck, 'STATUS', { config })
        expectWhole(struck, expectSuccess(struck, 'ADD', { config }), { config })
        expectSuccess(struck, 'DEL', { config })
        expectNothing(struck)
      })
    })

    it('leaves nothing that GC does not remove', () => {
      eachTorn((struck) => {
        expectSuccess(struck, 'GC', { config: gcConfig(config) })
        expectNothing(struck)
      })
    })
  })
})

function removeLeases(node: FakeNode): void {
  for (const address of heldAddresses(node)) node.files.remove(`${DEFAULT_PATHS.dataDir}/net/${address}`)
}
