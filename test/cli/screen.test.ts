import { describe, expect, it } from 'vitest'
import { age, bar, bytes, flow, painter, table } from '../../src/cli/screen.ts'
import { createFakeMachine } from '../fakes/machine.ts'

const onTerminal = createFakeMachine({ isTerminal: () => true })

describe('colours', () => {
  it.each([
    ['on a terminal', onTerminal, {}, '\x1b[31mx\x1b[0m'],
    ['not in a file', createFakeMachine(), {}, 'x'],
    ['not with NO_COLOR', onTerminal, { NO_COLOR: '1' }, 'x'],
    ['not on a terminal that has none', onTerminal, { TERM: 'dumb' }, 'x'],
  ])('are %s', (_, machine, env, text) => {
    expect(painter({ machine, env })('red', 'x')).toBe(text)
  })
})

describe('a table', () => {
  it('has columns of equal width, whatever their colours', () => {
    const paint = painter({ machine: onTerminal, env: {} })
    const lines = table(
      paint,
      ['NAME', '>COUNT', 'REST'],
      [
        ['a', '1', ''],
        [paint('red', 'long name'), '1000', 'x'],
      ],
    )
    expect(lines.slice(1)).toEqual(['a              1', '\x1b[31mlong name\x1b[0m   1000  x'])
  })

  it('becomes a record for each row where the lines would be too long', () => {
    const rows = [
      ['shop/web', '10.1.0.2 fd00::2', '–', 'ok'],
      ['', '10.1.0.3', '8080/tcp', ''],
    ]
    expect(table((_, text) => text, ['POD', 'ADDRESS', '>PORTS', 'STATE'], rows, 30)).toEqual([
      'shop/web',
      '    address 10.1.0.2 fd00::2',
      '    state ok',
      '    address 10.1.0.3',
      '    ports 8080/tcp',
    ])
  })
})

it('parts flow into lines that are not too long', () => {
  expect(flow(['one', 'two', 'three', 'fourteen'], ' ', 8, '')).toEqual(['one two', 'three', 'fourteen'])
})

it.each([
  [0, '····'],
  [0.5, '██··'],
  [0.47, '█▉··'],
  [2, '████'],
])('a bar of %d', (part, text) => {
  expect(bar(part, 4)).toBe(text)
})

it.each([
  [0, '0 B'],
  [999, '999 B'],
  [1000, '1.0 kB'],
  [123_456_789, '123 MB'],
])('%d bytes', (count, text) => {
  expect(bytes(count)).toBe(text)
})

it.each([
  [1500, '1s'],
  [89 * 60_000, '89m'],
  [47 * 3_600_000, '47h'],
  [49 * 3_600_000, '2d'],
])('an age of %d ms', (ms, text) => {
  expect(age(ms)).toBe(text)
})
