import { describe, expect, it } from 'vitest'
import { MATRIX_LIMIT, Matrix, sliceOf } from '../../../src/overlay/mesh/matrix.ts'
import { nodeIdOf, shortIdOf } from '../../../src/overlay/mesh/packet.ts'
import { createSchedule } from '../../../src/overlay/mesh/schedule.ts'

const ring = (count: number) => Array.from({ length: count }, (_, i) => `n${String(i).padStart(4, '0')}`)
const none = new Set<string>()

describe('the schedule', () => {
  it.each([2, 3, 12, 500])('gives each of %d nodes a turn in as many turns as there are others', (count) => {
    const names = ring(count)
    const schedule = createSchedule('n0000')
    const round = Array.from({ length: count - 1 }, () => schedule.next(names, none))
    expect([...round].sort()).toEqual(names.slice(1))
  })

  it('never leads two nodes that run in step to the same one', () => {
    const names = ring(50)
    const schedules = names.map(createSchedule)
    for (let turn = 0; turn < 100; turn++) {
      expect(new Set(schedules.map((one) => one.next(names, none))).size).toBe(50)
    }
  })

  it('gives every other turn to those with which something is wrong, and the others to all', () => {
    const names = ring(10)
    const schedule = createSchedule('n0000')
    const turns = Array.from({ length: 18 }, () => schedule.next(names, new Set(['n0003', 'n0007'])))
    expect(turns.filter((_, i) => i % 2 === 1)).toEqual(
      Array.from({ length: 9 }, (_, i) => (i % 2 === 0 ? 'n0003' : 'n0007')),
    )
    expect([...turns.filter((_, i) => i % 2 === 0)].sort()).toEqual(names.slice(1))
  })

  it('has nobody to measure where there is no other node', () => {
    expect(createSchedule('a').next(['a'], none)).toBeUndefined()
    expect(createSchedule('a').next([], none)).toBeUndefined()
  })

  it('goes on when nodes come and go', () => {
    const schedule = createSchedule('n0000')
    const seen = [9, 3, 12, 2].map((count) => schedule.next(ring(count), none))
    for (const peer of seen) expect(peer).not.toBe('n0000')
  })
})

describe('the matrix', () => {
  const ids = (count: number) => ring(count).map(nodeIdOf)
  const told = (count: number) => ids(count).map((id) => ({ shortId: shortIdOf(id), cells: [1, 2, 3, 4] }))
  const answerOf = (sender: string, entries: ReturnType<typeof told>) =>
    ({ kind: 'answer', nonce: '', sender, receiver: '', way: 0, peers: 2, unreachable: 1, entries }) as const

  it('is put together from parts, and forgets nodes that are gone', () => {
    const matrix = new Matrix()
    const [first = ''] = ids(1)
    matrix.setNodes(ids(3))
    matrix.learn(answerOf(first, told(3).slice(0, 2)), 5)
    matrix.learn(answerOf(first, told(3).slice(2)), 6)
    expect(matrix.row(first)).toMatchObject({ peers: 2, unreachable: 1, heardMs: 6 })
    expect(matrix.row(first)?.cells.size).toBe(3)
    matrix.setNodes(ids(2))
    expect(matrix.row(first)?.cells.size).toBe(2)
    matrix.setNodes([])
    expect(matrix.row(first)).toBeUndefined()
  })

  it('keeps nothing of nodes that it does not know, and no cells of a large cluster', () => {
    const matrix = new Matrix()
    const [first = ''] = ids(1)
    matrix.setNodes(ids(2))
    matrix.learn(answerOf(first, told(9)), 5)
    expect(matrix.row(first)?.cells.size).toBe(2)
    matrix.setNodes(ids(MATRIX_LIMIT + 1))
    matrix.learn(answerOf(first, told(9)), 5)
    expect(matrix.isWhole).toBe(false)
    expect(matrix.row(first)).toMatchObject({ unreachable: 1, cells: new Map() })
  })

  it('is told in parts that cover it all', () => {
    const row = Array.from({ length: 70 }, (_, i) => i)
    const parts = [0, 32, 64].flatMap((at) => sliceOf(row, at, 32))
    expect(new Set(parts)).toEqual(new Set(row))
    expect(parts).toHaveLength(96)
    expect(sliceOf(row.slice(0, 3), 32, 32)).toEqual([0, 1, 2])
  })
})
