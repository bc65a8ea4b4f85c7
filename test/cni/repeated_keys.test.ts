import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeConfig, decodeForGc, decodeForIpam, decodeForRemoval } from '../../src/cni/config.ts'
import { RESULT_RULE } from '../../src/cni/config_schema.gen.ts'
import { parsePrinted, parseResult } from '../../src/cni/parse_result.ts'
import { assertNoRepeatedKeys } from '../../src/cni/repeated_keys.ts'
import { faultOf } from '../support/fault_of.ts'

const IPAM = '{"type":"bowline-ipam","ranges":[[{"subnet":"10.1.0.0/24"}]]}'

/** A configuration with these members behind its name. */
function config(members: string): string {
  return `{"cniVersion":"1.1.0","name":"net","type":"bowline",${members}}`
}

const REPEATED: readonly (readonly [string, string])[] = [
  [`"ipam":${IPAM},"ipam":{}`, 'key "ipam" stands twice'],
  [`"ipam":${IPAM},"ipam":null`, 'key "ipam" stands twice'],
  [`"ipam":${IPAM},"IPAM":{}`, 'key "ipam" stands twice, as "ipam" and as "IPAM"'],
  [`"Ipam":${IPAM},"iPAM":{}`, 'key "ipam" stands twice, as "Ipam" and as "iPAM"'],
  [`"ipam":${IPAM},"\\u0069pam":{}`, 'key "ipam" stands twice'],
  [`"ipam" : ${IPAM} ,\n "ipam" : {} `, 'key "ipam" stands twice'],
  ['"mtu":1400,"mtu":1400', 'key "mtu" stands twice'],
  ['"name":"other"', 'key "name" stands twice'],
  ['"CNIVersion":"1.1.0"', 'key "cniVersion" stands twice'],
  ['"unknown":1,"unknown":2', 'key "unknown" stands twice'],
  ['"ipam":{"type":"bowline-ipam","type":"static"}', 'key "ipam.type" stands twice'],
  ['"ipam":{"type":"static","addresses":[],"addresses":[]}', 'key "ipam.addresses" stands twice'],
  ['"ipam":{"ranges":[[{"subnet":"10.1.0.0/24","Subnet":"10.2.0.0/24"}]]}', 'key "ipam.ranges[0][0].subnet"'],
  [`"mtu":1,"x":"<&>\u2028","ipam":${IPAM},"ipam":{}`, 'key "ipam" stands twice'],
  ['"ipam":{"ranges":[[{}],[{},{"gateway":"a\\"}","gateway":"b"}]]}', 'key "ipam.ranges[1][1].gateway"'],
  ['"ipam":{"routes":[{"dst":"::/0"},{"dst":"::/0","gw":"","gw":""}]}', 'key "ipam.routes[1].gw"'],
  ['"dns":{"search":[],"search":[]}', 'key "dns.search"'],
  ['"args":{"cni":{},"cni":{}}', 'key "args.cni"'],
  ['"args":{"cni":{"ips":[],"IPs":[]}}', 'key "args.cni.ips"'],
  [
    '"runtimeConfig":{"portMappings":[{"hostPort":1,"hostPort":2}]}',
    'runtimeConfig.portMappings[0].hostPort',
  ],
  ['"runtimeConfig":{"bandwidth":{"ingressRate":1,"ingressrate":2}}', 'runtimeConfig.bandwidth.ingressRate'],
  ['"prevResult":{},"prevResult":{}', 'key "prevResult"'],
  ['"vlanTrunk":[{"id":1,"id":2}]', 'key "vlanTrunk[0].id"'],
]

describe('a key that stands twice', () => {
  it.each(REPEATED)('in %s is refused by name', (members, says) => {
    const fault = faultOf(() => decodeConfig(config(members)))
    expect(fault).toMatchObject({ code: 7, message: expect.stringContaining(says) })
    expect(fault.hint).toContain('Remove one of the two')
  })

  it.each(REPEATED.filter(([members]) => !members.startsWith('"name"')))(
    'in %s stops no removal',
    (members) => {
      expect(decodeForRemoval(config(members)).name).toBe('net')
      expect(decodeForGc(config(members)).name).toBe('net')
    },
  )

  it.each([
    '"args":{"cni":{"labels":1,"labels":2},"other":1,"other":2}',
    '"prevResult":{"ips":[],"ips":[],"IPS":[]}',
    '"capabilities":{"a":true,"a":false}',
    '"unknown":{"a":1,"a":2}',
    '"unknown":"\\u003c\\u0026\\u003e\\u2028"',
    '"unknown":{"ipam":1},"other":{"ipam":1}',
    '"unknown":"\\"ipam\\":1,\\"ipam\\":2"',
  ])('in %s is nothing to us', (members) => {
    expect(decodeConfig(config(members)).name).toBe('net')
  })

  it('among those of a plugin that we are only the IPAM of is for that one to judge', () => {
    const members = `"ipam":${IPAM},"mtu":1,"mtu":2,"mode":"l2","mode":"l3","x":1,"x":2`
    expect(decodeForIpam(config(members)).name).toBe('net')
    const fault = faultOf(() => decodeForIpam(config(`"ipam":${IPAM},"IPAM":${IPAM}`)))
    expect(fault.message).toContain('key "ipam" stands twice')
    expect(faultOf(() => decodeForIpam(config('"name":"other"'))).message).toContain(
      'key "name" stands twice',
    )
  })

  it('is refused by GC where it lists the valid attachments, so that nothing is removed', () => {
    const text = config('"cni.dev/valid-attachments":[],"cni.dev/valid-attachments":[]')
    expect(faultOf(() => decodeForGc(text)).message).toContain('"cni.dev/valid-attachments" stands twice')
    expect(decodeForRemoval(text).name).toBe('net')
  })

  it('is looked for by GC in text that is broken or too long, and the search ends', () => {
    const long = config(`"prevResult":"${'x'.repeat(5 << 20)}","cni.dev/valid-attachments":[]`)
    for (const text of [
      long,
      config('"ipam":{"x":"\\u00"},"cni.dev/valid-attachments":[]'),
      '{"name":"net","mtu":{]}',
    ]) {
      expect(decodeForGc(text).name).toBe('net')
    }
  })
})

describe('what an IPAM plugin has printed', () => {
  it.each([
    ['{"ips":[{"address":"10.1.0.5/24"}],"ips":[]}', 'key "result of static.ips" stands twice'],
    ['{"ips":[{"address":"10.1.0.5/24"}],"IPs":[]}', 'key "result of static.ips" stands twice'],
    [
      '{\n  "ips": [{"address":"10.1.0.5/24","Address":"10.1.0.6/24"}]\n}',
      '"result of static.ips[0].address"',
    ],
  ])('is refused if a key stands there twice: %s', (text, says) => {
    const fault = faultOf(() => parsePrinted(text, JSON.parse(text), '1.1.0', 'static'))
    expect(fault).toMatchObject({ code: 7, message: expect.stringContaining(says) })
  })

  it('is passed on as "prevResult" with the last of them', () => {
    const json = { ips: [{ address: '10.1.0.5/24' }], IPs: [] }
    expect(parseResult(json, '1.1.0').ips).toEqual([])
  })
})

const plain = { noNullPrototype: true, maxDepth: 4 }
const members = fc.dictionary(
  fc.constantFrom('ips', 'routes', 'dns', 'ip4', 'x\\"{', '\u0131ps'),
  fc.object(plain),
)

describe('what JSON.stringify prints, with any spaces and escapes,', () => {
  it('has no key twice', () => {
    fc.assert(
      fc.property(members, fc.constantFrom(undefined, 1, '\t\n'), (value, space) => {
        assertNoRepeatedKeys(RESULT_RULE, JSON.stringify(value, null, space), value)
      }),
    )
  })

  it('has one twice when a member is put behind it', () => {
    fc.assert(
      fc.property(members, fc.constantFrom(undefined, 2), fc.json(), (value, space, again) => {
        const [key] = Object.keys(value)
        if (key === undefined) return
        const text = JSON.stringify(value, null, space).replace(
          /\s*\}$/,
          () => `,${JSON.stringify(key)}:${again}}`,
        )
        expect(faultOf(() => assertNoRepeatedKeys(RESULT_RULE, text, JSON.parse(text))).message).toContain(
          'stands twice',
        )
      }),
    )
  })
})
