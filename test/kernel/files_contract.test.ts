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
})
