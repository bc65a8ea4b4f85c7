import { existsSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { expect, it } from 'vitest'

const ROOT = resolve(import.meta.dirname, '../..')

it.each([
  ['README.md', 30],
  ['conf/README.md', 0],
])('%s names files and folders that exist', (file, least) => {
  const text = readFileSync(resolve(ROOT, file), 'utf8')
  const paths = [...text.matchAll(/`((?:src|ipam|scripts|conf|test)\/[\w./-]*)`/g)].map(
    ([, path = '']) => path,
  )
  expect(paths.length).toBeGreaterThan(least)
  expect(paths.filter((path) => !existsSync(resolve(ROOT, path)))).toEqual([])
})
