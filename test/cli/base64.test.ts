import { expect, it } from 'vitest'
import { base64 } from '../../src/cli/base64.ts'

it.each(['', 'a', 'ab', 'abc', 'käse ≥ 1', '{"name":"lab"}'])('writes %j as others do', (text) => {
  expect(base64(text)).toBe(Buffer.from(text).toString('base64'))
})
