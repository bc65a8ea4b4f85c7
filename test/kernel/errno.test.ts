import { constants } from 'node:os'
import { describe, expect, it } from 'vitest'
import { errnoName } from '../../src/kernel/linux/errno.ts'

describe('the name of an errno', () => {
  it('is the one that the C library knows', () => {
    // Two names for one number: Linux knows it by the first.
    const SECOND = ['EWOULDBLOCK', 'ENOTSUP']
    const known = Object.entries(constants.errno).filter(([name]) => !SECOND.includes(name))
    expect(known.length).toBeGreaterThan(70)
    for (const [name, number] of known) expect(errnoName(number), name).toBe(name)
  })

  it('says the number where there is no name', () => {
    expect(errnoName(133)).toBe('EHWPOISON')
    for (const number of [0, -1, 134, 999]) expect(errnoName(number)).toBe(`errno ${number}`)
  })
})
