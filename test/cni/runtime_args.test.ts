import { describe, expect, it } from 'vitest'
import { decodeConfig } from '../../src/cni/config.ts'
import { chooseDns, runtimeArgsOf } from '../../src/cni/runtime_args.ts'
import { formatAddress } from '../../src/core/address.ts'
import { faultOf } from '../support/fault_of.ts'

const config = (keys: object) => decodeConfig(JSON.stringify({ name: 'net', ...keys }))
const [a, b, c] = ['02:00:00:00:00:0a', '02:00:00:00:00:0b', '02:00:00:00:00:0c']

describe('the MAC asked for', () => {
  it.each([
    [{}, {}, undefined],
    [{ MAC: a }, {}, a],
    [{ MAC: a }, { args: { cni: { mac: b } } }, b],
    [{ MAC: a }, { runtimeConfig: { mac: c } }, c],
    [{ MAC: a }, { args: { cni: { mac: b } }, runtimeConfig: { mac: c } }, c],
    [{ MAC: a }, { args: { cni: { mac: '' } }, runtimeConfig: { mac: '' } }, a],
    [{ MAC: 'nonsense' }, { args: { cni: { mac: b } } }, b],
    [{}, { args: { cni: { mac: '02-00-00-00-00-0B' } } }, b],
    [{ mac: a }, {}, undefined],
  ])('of CNI_ARGS %j and %j is %s', (args, keys, mac) => {
    expect(runtimeArgsOf({ args }, config(keys)).mac).toBe(mac)
  })

  it('is refused with code 4 if CNI_ARGS has another thing', () => {
    const fault = faultOf(() => runtimeArgsOf({ args: { MAC: 'zz' } }, config({})))
    expect(fault.code).toBe(4)
    expect(fault.message).toContain('CNI_ARGS: MAC: "zz"')
  })
})

describe('the addresses asked for', () => {
  const ips = (args: Record<string, string>, keys: object) =>
    runtimeArgsOf({ args }, config(keys)).ips.map(formatAddress)

  it('add up, in the order of CNI_ARGS, args and runtimeConfig', () => {
    const keys = { args: { cni: { ips: ['10.1.0.6/24'] } }, runtimeConfig: { ips: ['fd00:0::7/64'] } }
    expect(ips({ IP: '10.1.0.5' }, keys)).toEqual(['10.1.0.5', '10.1.0.6', 'fd00::7'])
  })

  it('may be a list with commas in CNI_ARGS', () => {
    expect(ips({ IP: '10.1.0.5/16, fd00::5,' }, {})).toEqual(['10.1.0.5', 'fd00::5'])
  })

  it('are asked for once, however often they are named', () => {
    const keys = { args: { cni: { ips: ['10.1.0.5'] } }, runtimeConfig: { ips: ['::ffff:10.1.0.5'] } }
    expect(ips({ IP: '10.1.0.5/24' }, keys)).toEqual(['10.1.0.5'])
  })

  it.each(['', ','])('are none in CNI_ARGS IP %j', (IP) => {
    expect(ips({ IP }, {})).toEqual([])
  })

  it('are refused with code 4 if CNI_ARGS has another thing', () => {
    const fault = faultOf(() => ips({ IP: '10.1.0' }, {}))
    expect(fault.code).toBe(4)
    expect(fault.message).toContain('CNI_ARGS: IP: "10.1.0"')
  })
})

describe('DNS', () => {
  const fromIpam = { nameservers: ['10.0.0.1'], search: ['ipam.example'] }

  it.each([
    [undefined, fromIpam],
    [{}, fromIpam],
    [{ domain: '' }, fromIpam],
    [{ domain: 'x' }, { domain: 'x' }],
    [{ options: ['a'] }, { options: ['a'] }],
    [{ search: [] }, { search: [] }],
    [{ nameservers: [], extra: 1 }, { nameservers: [] }],
  ])('of the config %j gives %j', (dns, expected) => {
    expect(chooseDns(config(dns ? { dns } : {}), fromIpam)).toEqual(expected)
  })

  it('is absent if nobody says anything', () => {
    expect(chooseDns(config({}), undefined)).toBeUndefined()
  })
})
