import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Code } from '../../src/core/errors.ts'
import type { Files } from '../../src/core/files.ts'
import { faultOf } from '../support/fault_of.ts'

/** An implementation of the port with an empty directory to work in. */
export type FilesSubject = {
  readonly files: Files
  /** An empty directory, absolute, without a slash at the end. */
  readonly root: string
  /** Puts a symbolic link at `path`, to nowhere if no target is given. */
  readonly plantSymlink: (path: string, target?: string) => void
  /** The permission bits of what is at `path`. */
  readonly modeOf: (path: string) => number
  readonly dispose?: () => void
}

/** What every implementation of the Files port must do. */
export function describeFilesContract(name: string, make: () => FilesSubject): void {
  describe(`the files of ${name}`, () => {
    let subject: FilesSubject
    let files: Files
    let at: (relative: string) => string

    beforeEach(() => {
      subject = make()
      files = subject.files
      at = (relative) => `${subject.root}/${relative}`
    })
    afterEach(() => subject.dispose?.())

    describe('reading', () => {
      it('gives undefined for a file that is missing', () => {
        expect(files.read(at('none'))).toBeUndefined()
      })

      it('gives undefined for a file in a directory that is missing', () => {
        expect(files.read(at('none/none'))).toBeUndefined()
      })

      it('gives the whole text, and an empty one as empty', () => {
        files.create(at('full'), 'two\r\nlines é')
        files.create(at('empty'), '')
        expect(files.read(at('full'))).toBe('two\r\nlines é')
        expect(files.read(at('empty'))).toBe('')
      })

      it('gives a text of a megabyte as it was written', () => {
        const text = '0123456789abcdef'.repeat(65_536)
        files.create(at('long'), text)
        expect(files.read(at('long'))).toBe(text)
      })

      it('refuses a directory with EISDIR', () => {
        expect(errnoOf(() => files.read(subject.root))).toBe('EISDIR')
      })

      it('refuses a symbolic link with ELOOP', () => {
        subject.plantSymlink(at('link'))
        expect(errnoOf(() => files.read(at('link')))).toBe('ELOOP')
      })

      it('names the path in the message', () => {
        subject.plantSymlink(at('link'))
        expect(faultOf(() => files.read(at('link'))).message).toContain(at('link'))
      })
    })

    describe('reading what is not ours', () => {
      it('follows a link, and gives undefined for a file that is missing and a link to nowhere', () => {
        files.create(at('file'), 'nameserver 10.0.0.10\n')
        subject.plantSymlink(at('link'), at('file'))
        subject.plantSymlink(at('broken'))
        expect(files.readForeign(at('file'))).toBe('nameserver 10.0.0.10\n')
        expect(files.readForeign(at('link'))).toBe('nameserver 10.0.0.10\n')
        expect(files.readForeign(at('broken'))).toBeUndefined()
        expect(files.readForeign(at('none'))).toBeUndefined()
      })

      it('refuses a directory', () => {
        expect(errnoOf(() => files.readForeign(subject.root))).toMatch(/EISDIR|EINVAL/)
      })
    })

    describe('reading a part', () => {
      it('gives the bytes from the offset, fewer at the end, none beyond it', () => {
        files.create(at('file'), 'abcdef')
        expect(text(files.readAt(at('file'), 2, 3))).toBe('cde')
        expect(text(files.readAt(at('file'), 4, 10))).toBe('ef')
        expect(files.readAt(at('file'), 10, 4)).toHaveLength(0)
      })

      it('gives nothing for a file that is missing', () => {
        expect(files.readAt(at('none'), 0, 4)).toHaveLength(0)
      })

      it('refuses a symbolic link with ELOOP', () => {
        subject.plantSymlink(at('link'))
        expect(errnoOf(() => files.readAt(at('link'), 0, 1))).toBe('ELOOP')
      })
    })

    describe('creating', () => {
      it('makes a file that only its owner reads', () => {
        files.create(at('file'), 'text')
        expect(subject.modeOf(at('file')) & 0o777).toBe(0o600)
      })

      it('refuses an existing file with EEXIST and leaves it as it is', () => {
        files.create(at('file'), 'first')
        expect(errnoOf(() => files.create(at('file'), 'second'))).toBe('EEXIST')
        expect(files.read(at('file'))).toBe('first')
      })

      it('refuses an existing symbolic link or directory with EEXIST', () => {
        subject.plantSymlink(at('link'))
        files.ensureDirectory(at('directory'))
        expect(errnoOf(() => files.create(at('link'), ''))).toBe('EEXIST')
        expect(errnoOf(() => files.create(at('directory'), ''))).toBe('EEXIST')
      })

      it('refuses a missing directory with ENOENT', () => {
        expect(errnoOf(() => files.create(at('none/file'), ''))).toBe('ENOENT')
      })

      it('leaves nothing else in the directory, whether it succeeds or fails', () => {
        files.create(at('file'), 'first')
        errnoOf(() => files.create(at('file'), 'second'))
        expect(files.list(subject.root)).toEqual(['file'])
      })
    })

    describe('replacing', () => {
      it('makes a file, and exchanges the text of one', () => {
        files.replace(at('file'), 'a long first text')
        files.replace(at('file'), 'second')
        expect(files.read(at('file'))).toBe('second')
        expect(files.list(subject.root)).toEqual(['file'])
      })

      it('makes a file that only its owner reads', () => {
        files.replace(at('file'), 'text')
        expect(subject.modeOf(at('file')) & 0o777).toBe(0o600)
      })

      it('puts a file in the place of a symbolic link', () => {
        subject.plantSymlink(at('link'))
        files.replace(at('link'), 'text')
        expect(files.read(at('link'))).toBe('text')
      })

      it('refuses a missing directory with ENOENT', () => {
        expect(errnoOf(() => files.replace(at('none/file'), ''))).toBe('ENOENT')
      })

      it('refuses a directory with EISDIR and leaves nothing behind', () => {
        files.ensureDirectory(at('directory'))
        expect(errnoOf(() => files.replace(at('directory'), ''))).toBe('EISDIR')
        expect(files.list(subject.root)).toEqual(['directory'])
      })
    })

    describe('publishing', () => {
      it('makes a file with this mode, exchanges one, and leaves nothing beside it', () => {
        files.publish(at('file'), bytes('first'), 0o755)
        files.publish(at('file'), bytes('second'), 0o640)
        expect(text(files.readProgram(at('file')) ?? bytes(''))).toBe('second')
        expect(files.modeOf(at('file'))).toBe(0o640)
        expect(files.list(subject.root)).toEqual(['file'])
      })

      it('makes a link, exchanges one and a file; what reads programs follows it', () => {
        files.publish(at('program'), bytes('text'), 0o755)
        files.publish(at('link'), bytes('other'), 0o600)
        files.publishLink(at('link'), 'nowhere')
        files.publishLink(at('link'), 'program')
        expect(text(files.readProgram(at('link')) ?? bytes(''))).toBe('text')
        expect(files.modeOf(at('link'))).toBe(0o755)
        expect(files.list(subject.root).sort()).toEqual(['link', 'program'])
      })

      it('refuses a directory in its place, and a missing one around it', () => {
        files.ensureDirectory(at('directory'))
        expect(errnoOf(() => files.publish(at('directory'), bytes('a'), 0o644))).toBe('EISDIR')
        expect(errnoOf(() => files.publishLink(at('directory'), 'a'))).toBe('EISDIR')
        expect(errnoOf(() => files.publish(at('none/file'), bytes('a'), 0o644))).toBe('ENOENT')
        expect(files.list(subject.root)).toEqual(['directory'])
      })

      it('gives nothing for a program that is missing', () => {
        expect([files.readProgram(at('none')), files.modeOf(at('none'))]).toEqual([undefined, undefined])
      })
    })

    describe('writing in place', () => {
      it('makes a missing file, and fills a gap with zeros', () => {
        files.writeAt(at('file'), 2, bytes('ab'))
        expect([...files.readAt(at('file'), 0, 10)]).toEqual([0, 0, 97, 98])
      })

      it('changes only the bytes that it is given', () => {
        files.create(at('file'), 'abcdef')
        files.writeAt(at('file'), 2, bytes('XY'))
        expect(files.read(at('file'))).toBe('abXYef')
      })

      it('writes a megabyte whole', () => {
        files.writeAt(at('file'), 128, new Uint8Array(1 << 20).fill(7))
        const read = files.readAt(at('file'), 128, 1 << 20)
        expect(read).toHaveLength(1 << 20)
        expect(read.every((byte) => byte === 7)).toBe(true)
      })

      it('refuses a symbolic link with ELOOP and a missing directory with ENOENT', () => {
        subject.plantSymlink(at('link'))
        expect(errnoOf(() => files.writeAt(at('link'), 0, bytes('a')))).toBe('ELOOP')
        expect(errnoOf(() => files.writeAt(at('none/file'), 0, bytes('a')))).toBe('ENOENT')
      })
    })

    describe('removing', () => {
      it('says whether there was a file', () => {
        files.create(at('file'), '')
        expect(files.remove(at('file'))).toBe(true)
        expect(files.remove(at('file'))).toBe(false)
        expect(files.remove(at('none/file'))).toBe(false)
      })

      it('refuses a directory', () => {
        files.ensureDirectory(at('directory'))
        expect(errnoOf(() => files.remove(at('directory')))).toBe('EISDIR')
      })

      it('takes a directory away only when it is empty, and says so', () => {
        files.ensureDirectory(at('directory'))
        files.create(at('directory/file'), '')
        expect(files.removeDirectory(at('directory'))).toBe(false)
        files.remove(at('directory/file'))
        expect(files.removeDirectory(at('directory'))).toBe(true)
        expect(files.removeDirectory(at('directory'))).toBe(false)
      })
    })

    describe('directories', () => {
      it('makes parents, and making them again changes nothing', () => {
        files.ensureDirectory(at('a/b/c'))
        files.create(at('a/b/c/file'), 'text')
        files.ensureDirectory(at('a/b/c'))
        expect(files.read(at('a/b/c/file'))).toBe('text')
      })

      it('gives them mode 0700, or the one that is asked for', () => {
        files.ensureDirectory(at('private'))
        files.ensureDirectory(at('public'), 0o755)
        expect(subject.modeOf(at('private')) & 0o777).toBe(0o700)
        expect(subject.modeOf(at('public')) & 0o777).toBe(0o755)
      })

      it('refuses to make one below a file with ENOTDIR', () => {
        files.create(at('file'), '')
        expect(errnoOf(() => files.ensureDirectory(at('file/directory')))).toBe('ENOTDIR')
      })

      it('lists the names, and nothing for a directory that is missing', () => {
        files.create(at('one'), '')
        files.ensureDirectory(at('two'))
        expect(files.list(subject.root).sort()).toEqual(['one', 'two'])
        expect(files.list(at('none'))).toEqual([])
      })

      it('lists thousands of names, each once', () => {
        const names = Array.from({ length: 3_000 }, (_, i) => `a-rather-long-name-for-a-file-${i}`)
        for (const name of names) files.writeAt(at(name), 0, bytes('x'))
        expect(files.list(subject.root).sort()).toEqual(names.sort())
      })

      it('refuses to list a file with ENOTDIR', () => {
        files.create(at('file'), '')
        expect(errnoOf(() => files.list(at('file')))).toBe('ENOTDIR')
      })
    })

    describe('probing', () => {
      it('leaves nothing where a file could be made, also where directories would have to be made first', () => {
        files.probe(subject.root)
        files.probe(at('none/none/none'))
        expect(files.list(subject.root)).toEqual([])
      })

      it('is stopped by no lock', () => {
        const lock = files.lock(at('lock'), 0)
        files.probe(subject.root)
        lock.release()
      })

      it('refuses a file in the place of the directory with ENOTDIR', () => {
        files.create(at('file'), '')
        expect(errnoOf(() => files.probe(at('file')))).toBe('ENOTDIR')
      })
    })

    describe('locking', () => {
      it('makes the file if it is missing, and keeps its text if it is there', () => {
        files.create(at('there'), 'text')
        files.lock(at('there'), 0).release()
        files.lock(at('missing'), 0).release()
        expect(files.read(at('there'))).toBe('text')
        expect(files.read(at('missing'))).toBe('')
      })

      it('keeps a second one out, and says try again later with the path', () => {
        const lock = files.lock(at('lock'), 0)
        const fault = faultOf(() => files.lock(at('lock'), 30))
        lock.release()
        expect(fault.code).toBe(Code.tryLater)
        expect(fault.message).toContain(at('lock'))
      })

      it('with a timeout of nothing tries once', () => {
        const lock = files.lock(at('lock'), 0)
        expect(faultOf(() => files.lock(at('lock'), 0)).code).toBe(Code.tryLater)
        lock.release()
      })

      it('can be taken again once it is released', () => {
        files.lock(at('lock'), 0).release()
        expect(() => files.lock(at('lock'), 0).release()).not.toThrow()
      })

      it('ignores a second release, also when somebody else holds it by then', () => {
        const first = files.lock(at('lock'), 0)
        first.release()
        const second = files.lock(at('lock'), 0)
        first.release()
        expect(faultOf(() => files.lock(at('lock'), 0)).code).toBe(Code.tryLater)
        second.release()
      })

      it('lets any number share it, and keeps out who wants it alone', () => {
        const shared = [1, 2].map(() => files.lock(at('lock'), 0, 'shared'))
        for (const lock of shared) {
          expect(faultOf(() => files.lock(at('lock'), 0)).code).toBe(Code.tryLater)
          lock.release()
          lock.release()
        }
        expect(() => files.lock(at('lock'), 0).release()).not.toThrow()
      })

      it('is not shared by who holds it alone', () => {
        const lock = files.lock(at('lock'), 0)
        expect(faultOf(() => files.lock(at('lock'), 0, 'shared')).code).toBe(Code.tryLater)
        lock.release()
        expect(() => files.lock(at('lock'), 0, 'shared').release()).not.toThrow()
      })

      it('does not care about locks on other files', () => {
        const one = files.lock(at('one'), 0)
        expect(() => files.lock(at('two'), 0).release()).not.toThrow()
        one.release()
      })

      it('refuses a missing directory with ENOENT and a symbolic link with ELOOP', () => {
        subject.plantSymlink(at('link'))
        expect(errnoOf(() => files.lock(at('none/lock'), 0))).toBe('ENOENT')
        expect(errnoOf(() => files.lock(at('link'), 0))).toBe('ELOOP')
      })
    })
  })
}

function errnoOf(work: () => unknown): string | undefined {
  return faultOf(work).errno
}

/** What `work` throws, which must be a Fault; undefined if it throws nothing. */
function text(part: Uint8Array): string {
  return new TextDecoder().decode(part)
}

function bytes(part: string): Uint8Array {
  return new TextEncoder().encode(part)
}
