import { describe, expect, it } from 'vitest'
import { Fault } from '../../src/core/errors.ts'
import { UndoStack } from '../../src/core/undo.ts'

describe('an undo stack', () => {
  it('runs the reverses, newest first', () => {
    const done: number[] = []
    const undo = new UndoStack()
    for (const step of [1, 2, 3]) undo.push(() => void done.push(step))
    expect(undo.unwind()).toEqual([])
    expect(done).toEqual([3, 2, 1])
  })

  it('runs each reverse once', () => {
    let runs = 0
    const undo = new UndoStack()
    undo.push(() => void runs++)
    undo.unwind()
    undo.unwind()
    expect(runs).toBe(1)
  })

  it('goes on after a failure and returns it', () => {
    const done: string[] = []
    const undo = new UndoStack()
    undo.push(() => void done.push('first'))
    undo.push(() => {
      throw new Fault('second failed')
    })
    expect(undo.unwind().map(({ message }) => message)).toEqual(['second failed'])
    expect(done).toEqual(['first'])
  })

  it('does not forget what there is to undo when a newer reverse has failed', () => {
    const done: string[] = []
    const undo = new UndoStack()
    undo.push(() => void done.push('oldest'))
    undo.pushForgetting(() => void done.push('forgotten'))
    undo.push(() => {
      throw new Fault('newest failed')
    })
    expect(undo.unwind()).toHaveLength(1)
    expect(done).toEqual(['oldest'])
  })

  it('forgets when all newer reverses have succeeded, though an older one fails', () => {
    const done: string[] = []
    const undo = new UndoStack()
    undo.push(() => {
      throw new Fault('oldest failed')
    })
    undo.pushForgetting(() => void done.push('forgotten'))
    undo.push(() => void done.push('newest'))
    expect(undo.unwind()).toHaveLength(1)
    expect(done).toEqual(['newest', 'forgotten'])
  })

  it('does nothing before it is unwound', () => {
    let runs = 0
    new UndoStack().push(() => void runs++)
    expect(runs).toBe(0)
  })
})
