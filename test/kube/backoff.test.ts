import { expect, it } from 'vitest'
import { createBackoff } from '../../src/kube/backoff.ts'

it('waits at random between a half and the whole of an interval, so that nodes do not come at once', () => {
  const waits = [0, 0.5, 1].map((random) => createBackoff({ random: () => random, firstMs: 1000 }).next())
  expect(waits).toEqual([1000, 750, 500])
})

it('begins anew after a success', () => {
  const backoff = createBackoff({ random: () => 0, firstMs: 100 })
  const waits = [backoff.next(), backoff.next()]
  backoff.reset()
  expect([...waits, backoff.next()]).toEqual([100, 200, 100])
})
