import { describe, expect, it } from 'vitest'
import { parseMac } from '../../src/core/mac.ts'
import { deriveBridgeMac, deriveNames, isInterfaceName, isPlainInterfaceName } from '../../src/core/names.ts'

const id = { network: 'net', containerId: 'box', ifName: 'eth0' }
/** From outside: printf 'net\0box\0eth0' | sha256sum */
const EXPECTED_KEY = '4a01ac7bf3f61a288dbeb6bb39399852'

describe('derived names', () => {
  it('never change, for pods outlive the release that made them', () => {
    expect(deriveNames(id)).toEqual({
      key: EXPECTED_KEY,
      hostIfName: `veth${EXPECTED_KEY.slice(0, 11)}`,
      hostMac: expect.stringMatching(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/),
      podMac: expect.stringMatching(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/),
    })
  })

  it('are the same each time', () => {
    expect(deriveNames({ ...id })).toEqual(deriveNames(id))
  })

  it('fit an interface name of 15 characters', () => {
    expect(deriveNames(id).hostIfName).toHaveLength(15)
  })

  it('have two different unicast hardware addresses', () => {
    const { hostMac, podMac } = deriveNames(id)
    expect(hostMac).not.toBe(podMac)
    expect([parseMac(hostMac), parseMac(podMac)]).toEqual([hostMac, podMac])
  })

  it.each([
    ['network', { ...id, network: 'other' }],
    ['container', { ...id, containerId: 'other' }],
    ['interface', { ...id, ifName: 'eth1' }],
  ])('all differ when the %s does', (_, other) => {
    const [one, two] = [deriveNames(id), deriveNames(other)]
    const same = Object.values(one).filter((value) => Object.values<string>(two).includes(value))
    expect(same).toEqual([])
  })

  it('do not run the parts together', () => {
    const one = deriveNames({ network: 'ab', containerId: 'c', ifName: 'd' })
    const two = deriveNames({ network: 'a', containerId: 'bc', ifName: 'd' })
    expect(one.key).not.toBe(two.key)
  })
})

describe('the hardware address of a bridge', () => {
  it('is a unicast one that depends on bridge and boot', () => {
    const mac = deriveBridgeMac('cni0', 'boot-1')
    expect(parseMac(mac)).toBe(mac)
    expect(deriveBridgeMac('cni0', 'boot-1')).toBe(mac)
    expect(deriveBridgeMac('cni1', 'boot-1')).not.toBe(mac)
    expect(deriveBridgeMac('cni0', 'boot-2')).not.toBe(mac)
  })
})

describe('the name of an interface', () => {
  it.each(['eth0', 'a', 'net1.100', '.a', '...', 'a'.repeat(15), '!#$&*~'])('may be %j', (name) => {
    expect(isPlainInterfaceName(name)).toBe(true)
    expect(isInterfaceName(name)).toBe(true)
  })

  it.each(['é', 'a%d', '\x01', 'ééééééé'])('may be %j to the kernel, but is none that we make', (name) => {
    expect(isPlainInterfaceName(name)).toBe(false)
    expect(isInterfaceName(name)).toBe(true)
  })

  it.each([
    '',
    '.',
    '..',
    'a/b',
    'a:b',
    'a b',
    'a\t',
    '\n',
    'a\x85',
    'a\u00a0',
    'a\0b',
    'a'.repeat(16),
    'éééééééé',
  ])('can not be %j', (name) => {
    expect(isPlainInterfaceName(name)).toBe(false)
    expect(isInterfaceName(name)).toBe(false)
  })
})
