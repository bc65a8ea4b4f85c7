import { describe, expect, it } from 'vitest'
import { Code, collectFaults, Fault, isErrno, withAction } from '../../src/core/errors.ts'

describe('a fault', () => {
  it('is an internal one unless something else is said', () => {
    const { code, errno, hint, name } = new Fault('it broke')
    expect({ code, errno, hint, name }).toEqual({
      code: Code.internal,
      errno: undefined,
      hint: undefined,
      name: 'Fault',
    })
  })

  it('takes over code, errno and hint of its cause', () => {
    const cause = new Fault('inner', { code: Code.io, errno: 'EIO', hint: 'Change the disk.' })
    expect(new Fault('outer', { cause })).toMatchObject({
      code: Code.io,
      errno: 'EIO',
      hint: 'Change the disk.',
      cause,
    })
  })

  it('prefers its own', () => {
    const cause = new Fault('inner', { code: Code.io, errno: 'EIO', hint: 'Change the disk.' })
    const own = { code: Code.tryLater, errno: 'EAGAIN', hint: 'Wait.' }
    expect(new Fault('outer', { ...own, cause })).toMatchObject(own)
  })

  it('takes nothing over from an error of another class', () => {
    const cause = Object.assign(new Error('inner'), { code: 5, errno: 'EIO' })
    expect(new Fault('outer', { cause })).toMatchObject({ code: Code.internal, errno: undefined })
  })

  it('is asked for its errno by name', () => {
    const fault = new Fault('it broke', { errno: 'EEXIST' })
    expect(isErrno(fault, 'ENOENT', 'EEXIST')).toBe(true)
    expect(isErrno(fault, 'ENOENT')).toBe(false)
    expect(isErrno(fault)).toBe(false)
    expect(isErrno(new Fault('without'), 'EEXIST')).toBe(false)
    expect(isErrno(Object.assign(new Error(), { errno: 'EEXIST' }), 'EEXIST')).toBe(false)
    expect(isErrno(undefined, 'EEXIST')).toBe(false)
  })
})

describe('an action', () => {
  it('gives what its work gives', () => {
    expect(withAction('add', () => 5)).toBe(5)
  })

  it('stands before the message of what went wrong, and keeps code and errno', () => {
    const work = () => {
      throw new Fault('EEXIST', { errno: 'EEXIST', code: Code.io })
    }
    expect(thrownBy(() => withAction('add route', work))).toMatchObject({
      message: 'add route: EEXIST',
      errno: 'EEXIST',
      code: Code.io,
    })
  })

  it('makes a fault of anything that is thrown', () => {
    const thrown = thrownBy(() =>
      withAction('add', () => {
        throw 'a word'
      }),
    )
    expect(thrown).toBeInstanceOf(Fault)
    expect(thrown).toMatchObject({ message: 'add: a word' })
  })

  it('may have a code of its own', () => {
    const work = () => {
      throw new Error('no')
    }
    expect(thrownBy(() => withAction('probe', work, { code: Code.notAvailable }))).toMatchObject({
      code: Code.notAvailable,
    })
  })
})

describe('collecting faults', () => {
  it('runs every step and gives what was thrown, in order', () => {
    const done: number[] = []
    const faults = collectFaults([
      () => void done.push(1),
      () => {
        throw new Fault('two', { errno: 'EIO' })
      },
      () => void done.push(3),
      () => {
        throw new Error('four')
      },
    ])
    expect(done).toEqual([1, 3])
    expect(faults.map(({ message }) => message)).toEqual(['two', 'four'])
    expect(faults[0]?.errno).toBe('EIO')
  })
})

function thrownBy(work: () => unknown): unknown {
  try {
    work()
    return undefined
  } catch (error) {
    return error
  }
}
