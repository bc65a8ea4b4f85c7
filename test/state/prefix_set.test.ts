import fc from 'fast-check'
import { expect, it } from 'vitest'
import { type Cidr, contains, formatCidr, networkOf, parseCidr } from '../../src/core/address.ts'
import { ipPrefix } from '../../src/kernel/nftables/datatypes.ts'
import type { NftElement, NftSet } from '../../src/kernel/nftables/objects.ts'
import { apply } from '../../src/state/apply.ts'
import type { DesiredPrefixSet } from '../../src/state/desired.ts'
import type { Difference } from '../../src/state/explain.ts'
import { differenceOfPrefixes, widest } from '../../src/state/prefix_set.ts'
import { createFakeKernel } from '../fakes/kernel.ts'

/* On the fake kernel, which refuses prefixes that overlap as Linux does. */
const SET: NftSet<Cidr> = { table: { family: 'inet', name: 'ours' }, name: 's', key: ipPrefix(4) }

/** Within 10.0.0.0/26, so that they overlap often. */
const prefix: fc.Arbitrary<Cidr> = fc
  .tuple(fc.integer({ min: 0, max: 63 }), fc.integer({ min: 26, max: 32 }))
  .map(([host, length]) => networkOf(parseCidr(`10.0.0.${host}/${length}`)))
const element = fc.record({ key: prefix, comment: fc.constantFrom('red', 'blue') })
const elements = fc.array(element, { maxLength: 12 }).map(widest)

const ADDRESSES = Array.from({ length: 64 }, (_, i) => parseCidr(`10.0.0.${i}/32`).address)
const texts = (all: readonly NftElement<Cidr>[]) =>
  all.map(({ key, comment }) => `${formatCidr(key)} ${comment}`).sort()

it('a set goes from any elements to any others, and keeps every address that both have', () => {
  fc.assert(
    fc.property(elements, elements, (before, after) => {
      const kernel = createFakeKernel()
      const there = () => kernel.nftables.elements(SET)
      const has = (all: readonly NftElement<Cidr>[]) => (one: (typeof ADDRESSES)[number]) =>
        all.some(({ key }) => contains(key, one))
      const run = (found: readonly Difference[]) =>
        apply(kernel, found, { places: new Map(), nft: new Map() })
      const desired = (all: NftElement<Cidr>[]): DesiredPrefixSet => ({
        kind: 'prefixSet',
        set: SET,
        elements: all,
        words: 's',
      })
      run(differenceOfPrefixes(desired(before), []).growth)
      expect(texts(there())).toEqual(texts(before))
      const { growth, shrinkage } = differenceOfPrefixes(desired(after), there())
      run(growth)
      const grown = there()
      for (const one of ADDRESSES) expect(has(grown)(one)).toBe(has(before)(one) || has(after)(one))
      run(shrinkage)
      expect(texts(there())).toEqual(texts(after))
      expect(differenceOfPrefixes(desired(after), there())).toEqual({ growth: [], shrinkage: [] })
    }),
  )
})

it('of prefixes that overlap the widest is left, and of equal ones the first', () => {
  const all = ['10.1.0.0/16 a', '10.0.0.0/8 b', '10.0.0.0/8 c', '192.0.2.0/24 d'].map((text) => {
    const [cidr = '', comment = ''] = text.split(' ')
    return { key: parseCidr(cidr), comment }
  })
  expect(texts(widest(all))).toEqual(['10.0.0.0/8 b', '192.0.2.0/24 d'])
})
