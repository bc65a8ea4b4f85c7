import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatRecord, parseRecord } from '../../src/attachment/record_format.ts'
import { readEnvironment } from '../../src/cni/environment.ts'
import { Fault } from '../../src/core/errors.ts'
import { faultOf, outcomeOf } from '../support/fault_of.ts'

const full = {
  CNI_COMMAND: 'ADD',
  CNI_CONTAINERID: '44611b4928c4',
  CNI_NETNS: '/var/run/netns/cni-1',
  CNI_IFNAME: 'eth0',
  CNI_ARGS: '',
  CNI_PATH: '/opt/cni/bin',
}
const anyName = fc.oneof(
  fc.string({ unit: 'binary', minLength: 1, maxLength: 16 }),
  fc.string({ unit: 'binary-ascii', minLength: 1, maxLength: 16 }),
)
const read = (env: Record<string, string | undefined>) => readEnvironment({ ...full, ...env })

describe('readEnvironment', () => {
  it('reads a whole ADD', () => {
    expect(read({ CNI_ARGS: 'IgnoreUnknown=1;K8S_POD_NAME=web;IP=10.1.0.5' })).toEqual({
      command: 'ADD',
      containerId: '44611b4928c4',
      netns: '/var/run/netns/cni-1',
      ifName: 'eth0',
      args: { IgnoreUnknown: '1', K8S_POD_NAME: 'web', IP: '10.1.0.5' },
      netnsOverride: false,
    })
  })

  it.each([undefined, ''])('knows that CNI_COMMAND %j is no call of a runtime', (CNI_COMMAND) => {
    expect(read({ CNI_COMMAND })).toBeUndefined()
  })

  it.each(['FOO', 'add', 'ADD '])('refuses the command %j', (CNI_COMMAND) => {
    const fault = faultOf(() => read({ CNI_COMMAND }))
    expect(fault.code).toBe(4)
    expect(fault.message).toBe(`unknown CNI_COMMAND: ${JSON.stringify(CNI_COMMAND)}`)
  })

  it.each([
    ['ADD', 'CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH'],
    ['CHECK', 'CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH'],
    ['DEL', 'CNI_CONTAINERID,CNI_IFNAME,CNI_PATH'],
    ['GC', 'CNI_PATH'],
    ['STATUS', 'CNI_PATH'],
  ])('names at once all that %s misses', (CNI_COMMAND, names) => {
    const empty = { CNI_CONTAINERID: '', CNI_NETNS: '', CNI_IFNAME: '', CNI_PATH: '' }
    for (const env of [{ CNI_COMMAND }, { ...empty, CNI_COMMAND }]) {
      const fault = faultOf(() => readEnvironment(env))
      expect([fault.code, fault.message]).toEqual([4, `required env variables [${names}] missing`])
    }
  })

  it('needs nothing but the command for VERSION', () => {
    expect(readEnvironment({ CNI_COMMAND: 'VERSION' })?.command).toBe('VERSION')
  })

  it.each(['STATUS', 'GC', 'VERSION'])(
    'does not look at the variables of an attachment on %s',
    (CNI_COMMAND) => {
      const wrong = { CNI_CONTAINERID: '../x', CNI_IFNAME: 'a/b', CNI_NETNS: 'dummy', CNI_ARGS: '==' }
      expect(read({ ...wrong, CNI_COMMAND })).toMatchObject({
        containerId: '',
        ifName: '',
        netns: '',
        args: {},
      })
    },
  )

  it.each(['', undefined, 'relative', '/gone'])('takes the netns %j on DEL', (CNI_NETNS) => {
    expect(read({ CNI_COMMAND: 'DEL', CNI_NETNS })?.netns).toBe(CNI_NETNS ?? '')
  })

  it.each(['../x', 'a/b', '-a', 'a b', 'a\n', 'ä', ` ${'x'.repeat(256)}`])(
    'refuses the container id %j',
    (id) => {
      for (const CNI_COMMAND of ['ADD', 'DEL', 'CHECK']) {
        const fault = faultOf(() => read({ CNI_COMMAND, CNI_CONTAINERID: id }))
        expect(fault.code).toBe(4)
        expect(fault.message).toContain('CNI_CONTAINERID: invalid characters in containerID')
      }
    },
  )

  it('refuses a container id that is too long for a file name, and says that this is our rule', () => {
    const fault = faultOf(() => read({ CNI_CONTAINERID: 'x'.repeat(256) }))
    expect([fault.code, fault.message]).toEqual([
      4,
      expect.stringContaining("CNI_CONTAINERID has 256 characters, more than the 255 of Bowline's own rule"),
    ])
  })

  it.each(['sixteencharacter', '.', '..', 'a/b', 'a:b', 'a b', 'a\tb', 'a\u0085b', 'a\u2003b', 'ääääääää'])(
    'refuses the interface name %j',
    (CNI_IFNAME) => {
      const fault = faultOf(() => read({ CNI_IFNAME }))
      expect([fault.code, fault.message.slice(0, 10)]).toEqual([4, 'CNI_IFNAME'])
    },
  )

  it.each(['fifteen-charact', '...', '-eth0', `a'"\\;$`, 'eth0.100'])(
    'takes the interface name %j',
    (CNI_IFNAME) => {
      expect(read({ CNI_IFNAME })?.ifName).toBe(CNI_IFNAME)
    },
  )

  // A template, letters, a byte that was no UTF-8, and control characters.
  it.each(['eth%d', 'ääääääa', '日本', 'eth\ufffd', 'a\u0001b', 'a\u007fb', 'a\u200bb'])(
    'refuses the name %j on ADD, and lets the DEL after it through',
    (CNI_IFNAME) => {
      expect(faultOf(() => read({ CNI_IFNAME })).code).toBe(4)
      expect(read({ CNI_COMMAND: 'DEL', CNI_IFNAME })?.ifName).toBe(CNI_IFNAME)
    },
  )

  it('takes no name on ADD that its record could not hold', () => {
    fc.assert(
      fc.property(anyName, (CNI_IFNAME) => {
        const invocation = outcomeOf(() => read({ CNI_IFNAME }))
        if (invocation instanceof Fault) return
        const id = { network: 'net', containerId: 'c1', ifName: invocation?.ifName ?? '' }
        const record = { ...id, version: 1, bootId: 'boot-1', complete: false } as const
        expect(parseRecord(formatRecord(record))).toEqual(record)
      }),
      { numRuns: 2000 },
    )
  })

  it.each(['ADD', 'CHECK'])('refuses a relative netns on %s', (CNI_COMMAND) => {
    const fault = faultOf(() => read({ CNI_COMMAND, CNI_NETNS: 'ns' }))
    expect([fault.code, fault.message]).toEqual([
      4,
      expect.stringMatching(/^CNI_NETNS: "ns" is not an absolute path \(Bowline's own rule: /),
    ])
  })

  it.each([
    ['1', true],
    ['TRUE', true],
    ['true', true],
    ['', false],
    ['0', false],
    ['yes', false],
  ])('reads CNI_NETNS_OVERRIDE %j as %s', (CNI_NETNS_OVERRIDE, expected) => {
    expect(read({ CNI_NETNS_OVERRIDE })?.netnsOverride).toBe(expected)
  })
})

describe('CNI_ARGS', () => {
  const args = (CNI_ARGS: string, CNI_COMMAND = 'ADD') => read({ CNI_ARGS, CNI_COMMAND })?.args

  it('ignores keys that nobody asks for, whatever IgnoreUnknown says', () => {
    for (const text of ['FOO=BAR', 'FOO=BAR;IgnoreUnknown=0', 'IgnoreUnknown=maybe;FOO=BAR']) {
      expect(args(text)).toHaveProperty('FOO', 'BAR')
    }
  })

  it('does not care for order or empty parts', () => {
    expect(args(';B=2;;A=1;')).toEqual(args('A=1;B=2'))
  })

  it('takes an empty value', () => {
    expect(args('IP=;MAC=')).toEqual({ IP: '', MAC: '' })
  })

  it.each(['FOO', 'A=1;B', 'A=1=2', '=='])('refuses the pair in %j on ADD, and ignores it on DEL', (text) => {
    const fault = faultOf(() => args(text))
    expect(fault.code).toBe(4)
    expect(fault.message).toContain('CNI_ARGS: invalid pair')
    expect(args(`${text};K=v`, 'DEL')).toHaveProperty('K', 'v')
  })

  it('takes the last of two values of one key', () => {
    expect(args('IgnoreUnknown=1;IP=10.1.0.5;IgnoreUnknown=true;IP=')).toEqual({
      IgnoreUnknown: 'true',
      IP: '',
    })
  })

  it('does not reach a prototype', () => {
    const read = args('__proto__=x;constructor=y')
    expect(Object.getPrototypeOf(read)).toBe(Object.prototype)
    expect(Object.keys(read ?? {})).toEqual(['__proto__', 'constructor'])
  })
})
