import { beforeEach, describe, expect, it } from 'vitest'
import { Fault } from '../../src/core/errors.ts'
import { parseMac } from '../../src/core/mac.ts'
import { sysctlName } from '../../src/core/shell.ts'
import { createFakeNode, type FakeNode, L2, L2_FULL } from '../fakes/node.ts'

/* No link of ours believes the router advertisements of a pod, whoever made the link. */
const MAC = parseMac('02:00:00:00:00:99')
const KEY = 'ipv6/conf/br0/accept_ra'
const VLAN_KEY = 'ipv6/conf/br0.100/accept_ra'

let node: FakeNode

beforeEach(() => {
  node = createFakeNode()
})

const read = (key: string) => node.kernel.host().readSysctl(key)
const write = (key: string, value: string) => node.kernel.host().writeSysctl(key, value)
const makeBridge = () => node.kernel.host().apply([{ op: 'createBridge', name: 'br0', mac: MAC }])

describe.each([
  ['a bridge', L2, KEY],
  ['the gateway of a VLAN', L2_FULL, VLAN_KEY],
])('%s', (_, config, key) => {
  it('stops believing them with an ADD that makes it, and with one that finds it believing', () => {
    expect(node.call('ADD', { config })).toMatchObject({ exitCode: 0 })
    expect(read(key)).toBe('0')
    for (const value of ['1', '2']) {
      node.call('DEL', { config })
      write(key, value)
      expect(node.call('ADD', { config })).toMatchObject({ exitCode: 0 })
      expect(read(key)).toBe('0')
    }
  })

  it('is named by CHECK when it believes them', () => {
    const { json } = node.call('ADD', { config })
    write(key, '1')
    const check = node.call('CHECK', { config: { ...config, prevResult: json } })
    expect(check.json).toMatchObject({
      code: 102,
      details: expect.stringContaining(
        `believes router advertisements [run: sysctl -w ${sysctlName(key)}=0]`,
      ),
    })
  })
})

it('a bridge that somebody else made stops believing them', () => {
  makeBridge()
  expect(node.call('ADD', { config: L2 })).toMatchObject({ exitCode: 0 })
  expect(read(KEY)).toBe('0')
})

it('a bridge that somebody else made believes what it did before when ADD fails', () => {
  makeBridge()
  write(KEY, '2')
  node.beforeStep((what) => {
    if (/writeAt .*\/bowline\/net\//.test(what)) throw new Fault('the test: EIO', { errno: 'EIO' })
  })
  const before = node.snapshot()
  expect(node.call('ADD', { config: L2 })).toMatchObject({ exitCode: 1 })
  expect(node.snapshot()).toEqual(before)
})
