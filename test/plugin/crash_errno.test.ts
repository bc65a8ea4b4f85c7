import { describe, expect, it } from 'vitest'
import { createFakeNode, type FakeNode, type Phase } from '../fakes/node.ts'
import { gcConfig, MODES } from '../support/fault_modes.ts'
import { atEachStep, type Fault, type Outcome } from '../support/fault_sweep.ts'
import { expectNothing, expectSuccess, expectWhole, heldAddresses } from '../support/node_expectations.ts'

/*
 * Every step of the kernel, the disk and a delegated plugin fails with an errno: before it has had its effect, or, as an
 * answer of the kernel may be lost, though it has had it. An ADD then either does all of it, or leaves the node as it
 * was; a DEL or GC that says it failed is finished by the next one.
 */

const ERRNOS = ['ENOSPC', 'EIO', 'EROFS', 'EBUSY', 'ENOBUFS', 'EEXIST', 'ENODEV', 'EPERM', 'ENOENT']
/** Where the steps are those of other modes, two will do. */
const errnosFor = (mode: string) => (/^l3, dual|all keys/.test(mode) ? ERRNOS : ['EIO', 'EEXIST'])
/** To a removal these say that there is nothing to remove, or that others need it: the kernel does not lie about that. */
const GONE = ['ENODEV', 'ENOENT', 'EBUSY']
const PHASES: readonly Phase[] = ['before', 'midway', 'after']

describe.each(Object.entries(MODES))('%s: ADD', (mode, config) => {
  it.each(errnosFor(mode))('that meets %s at any step is whole, or has changed nothing', (how) => {
    const before = createFakeNode().snapshot()
    let failed = 0
    atEachStep(
      createFakeNode,
      (node) => {
        const answer = node.call('ADD', { config })
        if (answer.exitCode !== 0) failed++
        return answer
      },
      { how, phases: PHASES },
      (struck) => {
        if (struck.answer.exitCode === 0) {
          expectWhole(struck, struck.answer, { config })
          expectSuccess(struck, 'DEL', { config })
          expectNothing(struck)
        } else expect(struck.node.snapshot(), struck.where).toEqual(before)
      },
    )
    expect(failed).toBeGreaterThan(10)
  })
})

describe.each(Object.entries(MODES))('%s', (mode, config) => {
  const withPod = (): FakeNode => {
    const node = createFakeNode()
    node.call('ADD', { config })
    return node
  }
  const struckBy = (fault: Fault, command: string, verify: (struck: Outcome) => void) =>
    atEachStep(withPod, (node) => node.call(command, { config: gcConfig(config) }), fault, verify)

  describe.each(['DEL', 'GC'])('%s', (command) => {
    it.each(errnosFor(mode))(
      'that meets %s at any step tells, or has done all; the next one does the rest',
      (how) => {
        const phases = GONE.includes(how) ? PHASES.slice(2) : PHASES
        struckBy({ how, phases }, command, (struck) => {
          if (struck.answer.exitCode === 0) expectNothing(struck)
          expectSuccess(struck, command, { config: gcConfig(config) })
          expectNothing(struck)
        })
      },
    )
  })

  it('DEL that cannot remove one thing removes all others, but for the addresses of a link that stays', () => {
    struckBy({ how: 'EIO', phases: ['before'], everyStep: true }, 'DEL', ({ node, answer, where }) => {
      if (answer.exitCode === 0 || !REMOVAL.test(where)) return
      const left = { link: hasLink(node), address: hasAddress(node) }
      // Nobody may get the addresses while the link has them.
      const expected = left.link ? { link: true, address: mode !== 'l2, no addresses' } : left
      expect(left, where).toEqual(expected)
    })
  })
})

const REMOVAL = /remove link|remove \S*\/networks\/|strict-ipam/

function hasLink(node: FakeNode): boolean {
  return node.residue().some((left) => left.startsWith('link veth'))
}

function hasAddress(node: FakeNode): boolean {
  return heldAddresses(node).length > 0 || node.delegate.leases.size > 0
}
