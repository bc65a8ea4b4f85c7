import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { printError } from '../../src/cni/print_error.ts'
import { assertCommandAllowed, isAtLeast, printVersion, SUPPORTED_VERSIONS } from '../../src/cni/versions.ts'
import { Code, Fault, withAction } from '../../src/core/errors.ts'
import { faultOf } from '../support/fault_of.ts'

const print = (error: unknown) => JSON.parse(printError(error, '1.1.0'))

describe('printError', () => {
  it('prints the code, what failed and the hint', () => {
    const fault = new Fault('key "mtu": -1 is not a number', {
      code: Code.invalidConfig,
      hint: 'Set "mtu" to one.',
    })
    expect(print(fault)).toEqual({
      cniVersion: '1.1.0',
      code: 7,
      msg: 'key "mtu": -1 is not a number',
      details: 'Set "mtu" to one.',
    })
  })

  it('puts the outermost action into msg, and the causes, the errno and the hint into details', () => {
    const fault = faultOf(() =>
      withAction('attach eth0 to cni0', () =>
        withAction('create bridge cni0', () => {
          throw new Fault('operation not permitted', { code: Code.io, errno: 'EPERM', hint: 'Run as root.' })
        }),
      ),
    )
    expect(print(fault)).toEqual({
      cniVersion: '1.1.0',
      code: 5,
      msg: 'attach eth0 to cni0',
      details: 'create bridge cni0: operation not permitted (EPERM). Run as root.',
    })
  })

  it('leaves details out when there is nothing to add', () => {
    expect(print(new Fault('all of it', { code: 11 }))).toEqual({
      cniVersion: '1.1.0',
      code: 11,
      msg: 'all of it',
    })
  })

  it.each([
    [new TypeError('x is undefined'), 'x is undefined'],
    ['text', 'text'],
    [{ a: 1 }, '[object Object]'],
    [undefined, 'unknown error'],
    [null, 'unknown error'],
    [new Error(''), 'unknown error'],
  ])('gives code 999 to what is no Fault: %s', (thrown, msg) => {
    expect(print(thrown)).toMatchObject({ cniVersion: '1.1.0', code: 999, msg })
  })

  it('says where a fault of our own code was thrown, and not where a refusal was', () => {
    function thrower(): never {
      throw new TypeError('x is undefined')
    }
    const details = print(faultOf(() => withAction('do something', thrower))).details
    expect(details).toMatch(/at thrower \(.*error\.test\.ts:\d+:\d+\)/)
    expect(print(new Fault('refused')).details).toBeUndefined()
  })

  it.each([0, -1, 1.5, Number.NaN])('never prints the code %d', (code) => {
    expect(print(new Fault('x', { code })).code).toBe(999)
  })

  it('never says what runtimes take for success of a DEL', () => {
    const cause = new Error('open /run/x: No such file or directory')
    const text = printError(
      new Fault('link "x" not\n found; record Not Found', { cause, hint: 'not  found.' }),
      '1.1.0',
    )
    expect(text).not.toMatch(/not found|no such file or directory/i)
    expect(JSON.parse(text).msg).toBe('link "x" missing; record missing')
  })

  it('ends, however the causes go on', () => {
    const fault = new Error('round')
    fault.cause = fault
    expect(print(fault).msg).toBe('round')
  })

  it('is one bounded line of JSON for anything', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary', maxLength: 9000 }),
        fc.string({ unit: 'binary' }),
        (message, hint) => {
          const line = printError(new Fault(message, { hint, cause: new Error(hint + message) }), '0.4.0')
          const { msg, details = '' } = JSON.parse(line)
          expect(msg.length).toBeLessThanOrEqual(400)
          expect(details.length).toBeLessThanOrEqual(2000)
          expect(msg + details).not.toMatch(/[\p{Cc}\u2028\u2029\u202e]/u)
        },
      ),
    )
  })
})

describe('versions', () => {
  it('are printed with our own one, whatever the caller speaks', () => {
    expect(printVersion()).toBe(
      JSON.stringify({ cniVersion: '1.1.0', supportedVersions: SUPPORTED_VERSIONS }),
    )
  })

  it.each([
    ['CHECK', '0.4.0'],
    ['STATUS', '1.1.0'],
    ['GC', '1.1.0'],
    ['ADD', '0.1.0'],
    ['DEL', '0.1.0'],
  ] as const)('allow %s from %s on', (command, first) => {
    for (const version of SUPPORTED_VERSIONS) {
      if (isAtLeast(version, first)) assertCommandAllowed(command, version)
      else {
        const fault = faultOf(() => assertCommandAllowed(command, version))
        expect([fault.code, fault.message]).toEqual([1, `config version does not allow ${command}`])
      }
    }
  })
})
