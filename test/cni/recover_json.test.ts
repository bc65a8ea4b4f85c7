import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { recoverObject } from '../../src/cni/recover_json.ts'

const DEEP = `${'['.repeat(200)}${']'.repeat(200)}`

describe('recoverObject', () => {
  it('reads what JSON.parse reads', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 4 })), (value) => {
        const text = JSON.stringify(value)
        expect(recoverObject(text)).toEqual(JSON.parse(text))
      }),
    )
  })

  it('keeps all that stands beside a member that is too deep, at any place', () => {
    const member = fc.tuple(fc.string(), fc.jsonValue({ maxDepth: 3 }))
    fc.assert(
      fc.property(fc.array(member, { maxLength: 6 }), fc.nat(6), (members, place) => {
        const texts = members.map(([key, value]) => `${JSON.stringify(`k${key}`)} : ${JSON.stringify(value)}`)
        const text = `{${texts.toSpliced(place, 0, `"deep":${DEEP}`).join(' , ')}}`
        expect(recoverObject(` ${text}\n`)).toEqual(JSON.parse(`{${texts.join(',')}}`))
      }),
    )
  })

  it.each<[string, string, unknown]>([
    ['reads around it inside of objects', `{"a":{"b":${DEEP},"c":1}}`, { a: { c: 1 } }],
    ['reads around it inside of lists', `{"a":[1,{"b":${DEEP},"c":2}]}`, { a: [1, { c: 2 }] }],
    ['leaves out a list that misses an item', `{"a":[1,${DEEP},2],"b":3}`, { b: 3 }],
    ['leaves out what is no JSON', '{"a":nonsense,"b":{"c":[x]},"d":1}', { b: {}, d: 1 }],
    ['never changes a prototype', `{"__proto__":{"a":1},"deep":${DEEP}}`, {}],
    ['takes the last of two', `{"a":1,"a":2,"deep":${DEEP}}`, { a: 2 }],
    ['takes quotes and brackets in texts for letters', `{"a":"\\\\\\"]}","deep":${DEEP}}`, { a: '\\"]}' }],
  ])('%s', (_, text, expected) => {
    expect(recoverObject(text)).toEqual(expected)
  })

  it.each(['', '[]', '{', '{"a":1', '{"a":"b}', '{}}', '{} {}', '"{}"', `{"a":${'['.repeat(200)}}`])(
    'refuses %j, which is no whole object',
    (text) => {
      expect(recoverObject(text)).toBeUndefined()
    },
  )

  it('never throws', () => {
    fc.assert(fc.property(fc.stringMatching(/^[{}[\]",:\\a1 ]*$/), (text) => void recoverObject(`{${text}}`)))
  })
})
