import { describe, expect, it } from 'vitest'
import { Fault } from '../../src/core/errors.ts'
import { describeFilesContract } from '../contract/files.ts'
import { createFakeFiles, Killed } from '../fakes/files.ts'

describeFilesContract('the fake', () => {
  const files = createFakeFiles()
  files.ensureDirectory('/root')
  return {
    files,
    root: '/root',
    plantSymlink: (path, target) => files.plantSymlink(path, target),
    modeOf: (path) => files.modeOf(path) ?? 0,
  }
})

describe('the fake files', () => {
  it('count every operation', () => {
    const files = createFakeFiles()
    files.ensureDirectory('/a')
    files.read('/a/b')
    expect(files.operations).toBe(2)
  })

  it('let a hook refuse an operation before it takes effect', () => {
    const files = createFakeFiles()
    files.onOperation = ({ name, phase }) => {
      if (name === 'create' && phase === 'before') throw new Fault('create /a: ENOSPC', { errno: 'ENOSPC' })
    }
    expect(() => files.create('/a', 'text')).toThrow('ENOSPC')
    expect(files.read('/a')).toBeUndefined()
  })

  it('stop a process after an operation took effect, and for good', () => {
    const files = createFakeFiles()
    files.onOperation = ({ phase }) => {
      if (phase === 'after') throw new Killed()
    }
    expect(() => files.create('/a', 'text')).toThrow(Killed)
    files.onOperation = undefined
    expect(() => files.remove('/a')).toThrow(Killed)
    files.revive()
    expect(files.read('/a')).toBe('text')
  })

  it.each([
    ['replace', true, ['.bowline-tmp.a']],
    ['replace', false, ['.bowline-tmp.a', '.bowline-tmp.a.new']],
    ['create', false, ['.bowline-tmp.a.new']],
  ] as const)(
    'keep what %s leaves when it is killed midway (anonymous: %s), and neither list nor count it',
    (operation, anonymous, left) => {
      const files = createFakeFiles({ anonymous })
      files.ensureDirectory('/d')
      files.onOperation = ({ phase }) => {
        if (phase === 'midway') throw new Killed()
      }
      expect(() => files[operation]('/d/a', 'text')).toThrow(Killed)
      files.onOperation = undefined
      files.revive()
      expect(Object.keys(files.dump())).toEqual(['/', '/d/', ...left.map((name) => `/d/${name}`)])
      expect(files.list('/d')).toEqual([])
      expect(files.removeDirectory('/d')).toBe(true)
    },
  )

  it('leave no temporary name when an operation is refused midway', () => {
    const files = createFakeFiles({ anonymous: false })
    files.onOperation = ({ phase }) => {
      if (phase === 'midway') throw new Fault('ENOSPC', { errno: 'ENOSPC' })
    }
    expect(() => files.replace('/a', 'text')).toThrow('ENOSPC')
    expect(files.dump()).toEqual({ '/': '' })
  })

  it('drop the locks of a process that was killed', () => {
    const files = createFakeFiles()
    const lock = files.lock('/lock', 0)
    files.revive()
    expect(() => files.lock('/lock', 0)).not.toThrow()
    lock.release()
    expect(() => files.lock('/lock', 0)).toThrow('another process')
  })

  it('add up the time that calls would have waited', () => {
    const files = createFakeFiles()
    files.lock('/lock', 0)
    expect(() => files.lock('/lock', 1_500)).toThrow()
    expect(files.waitedMs).toBe(1_500)
  })

  it('dump files with their text and directories with a slash', () => {
    const files = createFakeFiles()
    files.ensureDirectory('/b')
    files.create('/b/c', 'text')
    files.create('/a', '')
    expect(files.dump()).toEqual({ '/': '', '/a': '', '/b/': '', '/b/c': 'text' })
  })
})
