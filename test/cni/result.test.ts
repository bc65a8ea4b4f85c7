import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseResult } from '../../src/cni/parse_result.ts'
import { assertPrintable, printResult } from '../../src/cni/print_result.ts'
import type { CniResult } from '../../src/cni/result.ts'
import { SUPPORTED_VERSIONS } from '../../src/cni/versions.ts'
import { type Address, type Cidr, parseAddress, parseCidr } from '../../src/core/address.ts'
import { type Mac, parseMac } from '../../src/core/mac.ts'
import { faultOf } from '../support/fault_of.ts'

const full: CniResult = {
  interfaces: [
    {
      name: 'eth0',
      mac: parseMac('02:00:00:00:00:01'),
      mtu: 1450,
      sandbox: '/var/run/netns/x',
      socketPath: '/s',
      pciID: '8086:9a01',
    },
  ],
  ips: [
    { address: parseCidr('10.1.0.5/24'), gateway: parseAddress('10.1.0.1'), interface: 0 },
    { address: parseCidr('fd00::5/64'), gateway: parseAddress('fd00::1'), interface: 0 },
    { address: parseCidr('10.2.0.5/24') },
  ],
  routes: [
    {
      dst: parseCidr('0.0.0.0/0'),
      gw: parseAddress('10.1.0.1'),
      mtu: 1400,
      advmss: 1360,
      priority: 9,
      table: 0,
      scope: 0,
    },
    { dst: parseCidr('::/0') },
  ],
  dns: { nameservers: ['10.96.0.10'], domain: 'd', search: ['s'], options: ['o'] },
}
const empty: CniResult = { interfaces: [], ips: [], routes: [] }

const route = { dst: '0.0.0.0/0', gw: '10.1.0.1', mtu: 1400, advmss: 1360, priority: 9, table: 0, scope: 0 }
const dns = { nameservers: ['10.96.0.10'], domain: 'd', search: ['s'], options: ['o'] }
const oldInterface = { name: 'eth0', mac: '02:00:00:00:00:01', sandbox: '/var/run/netns/x' }

const current = {
  interfaces: [{ ...oldInterface, mtu: 1450, socketPath: '/s', pciID: '8086:9a01' }],
  ips: [
    { interface: 0, address: '10.1.0.5/24', gateway: '10.1.0.1' },
    { interface: 0, address: 'fd00::5/64', gateway: 'fd00::1' },
    { address: '10.2.0.5/24' },
  ],
  routes: [route, { dst: '::/0' }],
  dns,
}
const middle = {
  interfaces: [oldInterface],
  ips: [
    { version: '4', interface: 0, address: '10.1.0.5/24', gateway: '10.1.0.1' },
    { version: '6', interface: 0, address: 'fd00::5/64', gateway: 'fd00::1' },
    { version: '4', address: '10.2.0.5/24' },
  ],
  routes: [route, { dst: '::/0' }],
  dns,
}
const oldest = {
  ip4: { ip: '10.1.0.5/24', gateway: '10.1.0.1', routes: [{ dst: '0.0.0.0/0', gw: '10.1.0.1' }] },
  ip6: { ip: 'fd00::5/64', gateway: 'fd00::1', routes: [{ dst: '::/0' }] },
  dns,
}

describe('printResult', () => {
  it.each([
    ['0.1.0', oldest],
    ['0.2.0', oldest],
    ['0.3.0', middle],
    ['0.3.1', middle],
    ['0.4.0', middle],
    ['1.0.0', current],
    ['1.1.0', current],
  ] as const)('prints version %s to the letter', (version, body) => {
    expect(printResult(full, version)).toBe(JSON.stringify({ cniVersion: version, ...body }))
  })

  it.each([
    ['0.4.0', { dns: {} }],
    ['1.0.0', {}],
    ['1.1.0', {}],
  ] as const)('prints an empty result of version %s', (version, body) => {
    expect(JSON.parse(printResult(empty, version))).toEqual({ cniVersion: version, ...body })
  })

  it('omits empty DNS from 1.0.0 on, and always prints it before', () => {
    const ips = [{ address: parseCidr('10.1.0.5/24') }]
    const result = { ...empty, ips, dns: { nameservers: [], search: [] } }
    const printed = SUPPORTED_VERSIONS.map((version) => 'dns' in JSON.parse(printResult(result, version)))
    expect(printed).toEqual([true, true, true, true, true, false, false])
  })

  it('takes 0 for an unset MTU, metric or segment size', () => {
    const result = {
      ...empty,
      interfaces: [{ name: 'eth0', mtu: 0, sandbox: '' }],
      routes: [{ dst: parseCidr('::/0'), mtu: 0, advmss: 0, priority: 0 }],
    }
    const body = { interfaces: [{ name: 'eth0' }], routes: [{ dst: '::/0' }] }
    expect(JSON.parse(printResult(result, '1.1.0'))).toEqual({ cniVersion: '1.1.0', ...body })
  })

  it('leaves out routes of a family without an address before 0.3.0', () => {
    const result = {
      ...empty,
      ips: [{ address: parseCidr('10.1.0.5/24') }],
      routes: [{ dst: parseCidr('::/0') }],
    }
    expect(JSON.parse(printResult(result, '0.2.0'))).toEqual({
      cniVersion: '0.2.0',
      ip4: { ip: '10.1.0.5/24' },
      dns: {},
    })
  })

  it.each(['0.1.0', '0.2.0'] as const)(
    'refuses a result without addresses in version %s, before it is made',
    (version) => {
      const fault = faultOf(() => assertPrintable({ ips: [] }, version))
      expect([fault.code, fault.message]).toEqual([7, 'cannot convert: no valid IP addresses'])
      expect(() => printResult(empty, version)).toThrow('cannot convert')
      assertPrintable(full, version)
      assertPrintable({ ips: [] }, '0.3.0')
    },
  )
})

describe('parseResult', () => {
  it('reads ip4 and ip6 of an old result', () => {
    expect(parseResult({ cniVersion: '0.2.0', ...oldest }, '0.2.0')).toEqual({
      interfaces: [],
      ips: full.ips.slice(0, 2).map(({ interface: _, ...ip }) => ip),
      routes: [{ dst: parseCidr('0.0.0.0/0'), gw: parseAddress('10.1.0.1') }, { dst: parseCidr('::/0') }],
      dns,
    })
  })

  it('tolerates unknown keys, keys in another case, and null', () => {
    const json = {
      CNIVersion: '1.1.0',
      IPs: [{ Address: '10.1.0.5/24', Gateway: null, x: 1 }],
      routes: null,
      y: [],
    }
    expect(parseResult(json, '1.1.0')).toMatchObject({
      ...empty,
      ips: [{ address: parseCidr('10.1.0.5/24') }],
    })
  })

  it('takes an empty gateway for none and keeps interface 0', () => {
    const { ips } = parseResult({ ips: [{ address: '10.1.0.5/24', gateway: '', interface: 0 }] }, '1.0.0')
    expect(ips).toEqual([{ address: parseCidr('10.1.0.5/24'), interface: 0 }])
  })

  it('passes on the MAC of a loopback interface', () => {
    const { interfaces } = parseResult({ interfaces: [{ name: 'lo', mac: '00:00:00:00:00:00' }] }, '1.0.0')
    expect(interfaces).toEqual([{ name: 'lo', mac: '00:00:00:00:00:00' }])
  })

  it.each([
    [null, 'key "prevResult": null is not an object'],
    ['x', 'key "prevResult": "x" is not an object'],
    [{ ips: {} }, 'key "prevResult.ips": an object is not a list'],
    [{ ips: [{}] }, 'key "prevResult.ips[0].address" is missing'],
    [{ ips: [{ address: '10.1.0.5' }] }, 'key "prevResult.ips[0].address": "10.1.0.5"'],
    [{ ips: [{ address: '10.1.0.5/24', interface: -1 }] }, 'key "prevResult.ips[0].interface": -1'],
    [{ ip4: {} }, 'key "prevResult.ip4.ip" is missing'],
    [{ routes: [{ dst: 'default' }] }, 'key "prevResult.routes[0].dst": "default"'],
    [{ interfaces: ['eth0'] }, 'key "prevResult.interfaces[0]": "eth0" is not an object'],
  ])('refuses %j with code 7', (json, says) => {
    const fault = faultOf(() => parseResult(json, '1.1.0'))
    expect(fault.code).toBe(7)
    expect(fault.message).toContain(says)
  })

  it('refuses a version that we do not speak', () => {
    expect(faultOf(() => parseResult({ cniVersion: '9.9.9' }, '1.1.0')).code).toBe(1)
  })
})

describe('what was printed', () => {
  const address = (family: 4 | 6): fc.Arbitrary<Address> =>
    fc.bigInt(0n, (1n << (family === 4 ? 32n : 128n)) - 1n).map((value) => ({ family, value }))
  // Family 6 without the IPv4-mapped block, which reads back as family 4.
  const anyAddress = fc
    .oneof(address(4), address(6))
    .filter((one) => one.family === 4 || one.value >> 32n !== 0xffffn)
  const cidr: fc.Arbitrary<Cidr> = anyAddress.chain((one) =>
    fc.nat(one.family === 4 ? 32 : 128).map((prefix) => ({ address: one, prefix })),
  )
  const some = <T>(members: { [K in keyof T]: fc.Arbitrary<T[K]> }, required: (keyof T)[]) =>
    fc.record(members, { requiredKeys: required }) as fc.Arbitrary<T>
  const word = fc.stringMatching(/^[a-z0-9]{1,8}$/)
  const positive = fc.integer({ min: 1, max: 65535 })
  const results = some<CniResult>(
    {
      interfaces: fc.array(
        fc.record(
          {
            name: word,
            mac: fc.constant('02:00:00:00:00:01' as Mac),
            mtu: positive,
            sandbox: word,
            socketPath: word,
            pciID: word,
          },
          { requiredKeys: ['name'] },
        ) as fc.Arbitrary<CniResult['interfaces'][number]>,
        { maxLength: 3 },
      ),
      ips: fc.array(
        some<CniResult['ips'][number]>({ address: cidr, gateway: anyAddress, interface: fc.nat(3) }, [
          'address',
        ]),
      ),
      routes: fc.array(
        some<CniResult['routes'][number]>(
          {
            dst: cidr,
            gw: anyAddress,
            mtu: positive,
            advmss: positive,
            priority: positive,
            table: fc.nat(),
            scope: fc.nat(255),
          },
          ['dst'],
        ),
      ),
      dns: some<NonNullable<CniResult['dns']>>(
        {
          nameservers: fc.array(word, { minLength: 1 }),
          domain: word,
          search: fc.array(word, { minLength: 1 }),
        },
        ['domain'],
      ),
    },
    ['interfaces', 'ips', 'routes'],
  )

  it.each(['1.0.0', '1.1.0'] as const)('is read back whole in version %s', (version) => {
    fc.assert(
      fc.property(results, (result) => {
        expect(parseResult(JSON.parse(printResult(result, version)), version)).toEqual(result)
      }),
    )
  })

  it.each(SUPPORTED_VERSIONS)('prints the same again when it was read in version %s', (version) => {
    fc.assert(
      fc.property(results, (result) => {
        fc.pre(result.ips.length > 0)
        const printed = printResult(result, version)
        expect(printResult(parseResult(JSON.parse(printed), version), version)).toBe(printed)
      }),
    )
  })
})
