import { existsSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { expect, it } from 'vitest'

const ROOT = resolve(import.meta.dirname, '../..')
const README = readFileSync(resolve(ROOT, 'README.md'), 'utf8')

it('the README names files and folders that exist', () => {
  const paths = [...README.matchAll(/`((?:src|ipam|scripts|conf|test)\/[\w./-]*)`/g)].map(
    ([, path = '']) => path,
  )
  expect(paths.length).toBeGreaterThan(30)
  expect(paths.filter((path) => !existsSync(resolve(ROOT, path)))).toEqual([])
})
