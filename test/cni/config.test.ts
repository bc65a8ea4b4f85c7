import { describe, expect, it } from 'vitest'
import {
  decodeConfig,
  decodeForGc,
  decodeForIpam,
  decodeForRemoval,
  versionForErrors,
} from '../../src/cni/config.ts'
import { validAttachments } from '../../src/cni/valid_attachments.ts'
import { asText } from '../support/as_text.ts'
import { faultOf } from '../support/fault_of.ts'

const base = { cniVersion: '1.1.0', name: 'net', type: 'bowline' }
const text = (keys: object) => JSON.stringify({ ...base, ...keys })
const ipam = { type: 'bowline-ipam', ranges: [[{ subnet: '10.1.0.0/24' }]] }
const attachments = 'cni.dev/valid-attachments'

describe('decodeConfig', () => {
  it.each([
    ['nothing', '', 'nothing came'],
    ['white space', ' \n', 'nothing came'],
    ['a byte order mark', `\uFEFF${text({})}`, 'begins with a byte order mark'],
    ['half an object', '{"name": "x"', 'read the network configuration'],
    ['a list', '[]', 'not an object'],
    ['null', 'null', 'not an object'],
    ['a hundred levels', `{"name":"n","x":${'['.repeat(100)}${']'.repeat(100)}}`, 'deeper than 64'],
    ['a million levels', '['.repeat(1_000_000), 'read the network configuration'],
    ['5 MiB', `{"name":"n","x":"${'x'.repeat(5 << 20)}"}`, 'more than'],
  ])('refuses %s with code 6', (_, broken, says) => {
    const fault = faultOf(() => decodeConfig(broken))
    expect(fault.code).toBe(6)
    expect(fault.message).toContain(says)
  })

  it.each([
    [undefined, 'missing network name'],
    ['', 'missing network name'],
    [null, 'missing network name'],
    ['a/b', 'invalid characters found in network name "a/b"'],
    ['../x', 'invalid characters'],
    ['-x', 'invalid characters'],
    ['x'.repeat(201), "has 201 characters, more than the 200 of Bowline's own rule"],
    [5, 'invalid characters'],
    [{ toString: 0 }, 'invalid characters'],
  ])('refuses the network name %j with code 7', (name, says) => {
    const fault = faultOf(() => decodeConfig(text({ name })))
    expect(fault.code).toBe(7)
    expect(fault.message).toContain(says)
  })

  it.each(['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'])(
    'speaks version %s',
    (cniVersion) => {
      expect(decodeConfig(text({ cniVersion })).cniVersion).toBe(cniVersion)
    },
  )

  it.each([undefined, '', null])('takes the version %j for 0.1.0', (cniVersion) => {
    expect(decodeConfig(text({ cniVersion })).cniVersion).toBe('0.1.0')
  })

  it.each(['9.9.9', '1.1', 'banana', 1, ['1.1.0'], { toString: 0 }, [{ toString: 0 }]])(
    'refuses the version %j with code 1, naming ours',
    (cniVersion) => {
      const fault = faultOf(() => decodeConfig(text({ cniVersion })))
      expect(fault.code).toBe(1)
      expect(fault.message).toContain('"0.1.0" "0.2.0"')
    },
  )

  it('reads keys in the spelling of containerd', () => {
    const config = decodeConfig(
      text({
        RuntimeConfig: {
          portMappings: [{ HostPort: 18080, ContainerPort: 8080, Protocol: 'tcp', HostIP: '' }],
          bandwidth: { IngressRate: 1e8, IngressBurst: 4294967295, EgressRate: 5e7, EgressBurst: 4294967295 },
          dns: { Servers: ['10.96.0.10'], Searches: ['cluster.local'], Options: null },
        },
      }),
    )
    expect(config.runtimeConfig).toEqual({
      portMappings: [{ hostPort: 18080, containerPort: 8080, protocol: 'tcp' }],
      bandwidth: { ingressRate: 1e8, ingressBurst: 4294967295, egressRate: 5e7, egressBurst: 4294967295 },
      dns: { servers: ['10.96.0.10'], searches: ['cluster.local'] },
    })
  })

  it('lets the last of two spellings win in a removal, but not a null', () => {
    expect(decodeForRemoval('{"name":"n","mtu":1400,"MTU":1500,"Mtu":null}').mtu).toBe(1500)
  })

  it('keeps unknown keys as they are, at every depth', () => {
    const given = {
      'io.example/x': [{ A: 1 }],
      ipam: { ...ipam, Extra: null },
      args: { cni: { labels: ['a'] } },
    }
    expect(asText(decodeConfig(text(given)))).toEqual({ ...base, ...given })
  })

  it('takes null and the empty string for an absent key', () => {
    const given = {
      bridge: '',
      mode: null,
      ipam: { type: '' },
      dns: null,
      runtimeConfig: { mac: '', ips: null },
    }
    expect(decodeConfig(text(given))).toEqual({ ...base, ipam: {}, runtimeConfig: {} })
  })

  it('keeps an empty list, which is not an absent one', () => {
    expect(decodeConfig(text({ dns: { nameservers: [] } })).dns).toEqual({ nameservers: [] })
  })

  it.each(['__proto__', 'constructor', 'toString', 'hasOwnProperty'])(
    'is not led astray by a key %s',
    (key) => {
      const config = decodeConfig(`{"name":"n","${key}":{"mtu":9},"ipam":{"${key}":{"type":"x"}}}`)
      expect(Object.getPrototypeOf(config)).toBe(Object.prototype)
      expect(Object.getPrototypeOf(config.ipam)).toBe(Object.prototype)
      expect(Object.hasOwn(config, '__proto__')).toBe(false)
      expect([config.mtu, config.ipam?.type, Reflect.get({}, 'mtu')]).toEqual([
        undefined,
        undefined,
        undefined,
      ])
    },
  )

  it.each([
    [{ mtu: '1500' }, 'key "mtu": "1500" is not an integer from 0 to 65535'],
    [{ mtu: -1 }, 'key "mtu": -1 is not an integer'],
    [{ mtu: 1.5 }, 'key "mtu": 1.5 is not an integer'],
    [{ mtu: 67 }, 'key "mtu": 67 is less than 68'],
    [{ vlan: -100 }, 'key "vlan": -100 is not an integer from 0 to 4094'],
    [{ vlan: 5000 }, 'key "vlan": 5000 is not an integer from 0 to 4094'],
    [{ isGateway: 'yes' }, 'key "isGateway": "yes" is not true or false'],
    [{ mode: 'l4' }, 'key "mode": "l4" is not one of "l2", "l3"'],
    [{ ipMasqBackend: 'ufw' }, 'key "ipMasqBackend": "ufw" is not one of'],
    [{ bridge: 'a/b' }, 'key "bridge": "a/b" is not an interface name'],
    [{ bridge: 'br%d' }, 'key "bridge": "br%d" is not an interface name'],
    [{ bridge: '..' }, 'key "bridge": ".." is not an interface name'],
    [{ bridge: 'sixteencharacter' }, 'is not an interface name'],
    [{ ipam: [] }, 'key "ipam": a list is not an object'],
    [{ ipam: { type: '../x' } }, 'key "ipam.type": "../x" is not the file name of a plugin'],
    [{ ipam: { ...ipam, dataDir: 'leases' } }, 'key "ipam.dataDir": "leases" is not an absolute path'],
    [
      { ipam: { ...ipam, dataDir: '/var/../etc' } },
      'not an absolute path without ".." (Bowline\'s own rule: later',
    ],
    [{ ipam: { ...ipam, resolvConf: '/etc/..' } }, '"/etc/.." is not an absolute path without ".."'],
    [{ ipam: { ...ipam, ranges: [[{}]] } }, 'key "ipam.ranges[0][0].subnet" is missing'],
    [
      { ipam: { ...ipam, ranges: [{ subnet: '10.1.0.0/24' }] } },
      'key "ipam.ranges[0]": an object is not a list',
    ],
    [
      { ipam: { ...ipam, ranges: [[{ subnet: '10.1.0.0' }]] } },
      '"10.1.0.0" is not an address with a prefix length',
    ],
    [{ ipam: { ...ipam, gateway: '10.1.0.256' } }, 'key "ipam.gateway": "10.1.0.256" is not an IP address'],
    [{ ipam: { ...ipam, routes: [{ gw: '10.1.0.1' }] } }, 'key "ipam.routes[0].dst" is missing'],
    [{ ipam: { ...ipam, routes: [{ dst: '::/0', scope: 256 }] } }, 'key "ipam.routes[0].scope": 256'],
    [
      { args: { cni: { mac: '01:00:00:00:00:01' } } },
      'key "args.cni.mac": "01:00:00:00:00:01" is not a unicast',
    ],
    [{ args: { cni: { ips: ['x'] } } }, 'key "args.cni.ips[0]": "x" is not an IP address'],
    [
      { runtimeConfig: { portMappings: [{ hostPort: 0, containerPort: 1 }] } },
      'portMappings[0].hostPort": 0',
    ],
    [{ runtimeConfig: { portMappings: [{ containerPort: 1 }] } }, 'portMappings[0].hostPort" is missing'],
    [{ runtimeConfig: { bandwidth: { ingressRate: 1 } } }, 'bandwidth.ingressRate" is set without'],
    [{ runtimeConfig: { bandwidth: { egressBurst: 1 } } }, 'bandwidth.egressBurst" is set without'],
    [
      { runtimeConfig: { bandwidth: { egressBurst: 8 * 0xffffffff, egressRate: 1 } } },
      'bandwidth.egressBurst": 34',
    ],
    [{ hairpinMode: true, promiscMode: true }, 'keys "hairpinMode" and "promiscMode" are both true'],
    [{ disableContainerInterface: true, ipam }, 'key "disableContainerInterface": true leaves no interface'],
    [{ nonMasqueradeCIDRs: ['10.0.0.0/8'] }, 'key "nonMasqueradeCIDRs": without "ipMasq"'],
    [
      { ipMasq: true, nonMasqueradeCIDRs: ['10.0.0.0/8', 'fd00::1/8'] },
      'key "nonMasqueradeCIDRs[1]": "fd00::1/8" is not an address with a prefix length, without host bits',
    ],
    [{ vlanTrunk: [{ id: 0 }] }, 'key "vlanTrunk[0].id": 0 is not an integer from 1 to 4094'],
    [{ vlanTrunk: [{ minID: 5 }] }, 'key "vlanTrunk[0]" has neither'],
    [{ vlanTrunk: [{ maxID: 5 }] }, 'key "vlanTrunk[0]" has neither'],
    [{ vlanTrunk: [{}] }, 'key "vlanTrunk[0]" has neither'],
    [{ vlanTrunk: [{ id: 5, minID: 5 }] }, 'key "vlanTrunk[0]" has neither'],
    [
      { vlanTrunk: [{ id: 1 }, { minID: 9, maxID: 8 }] },
      'key "vlanTrunk[1]": minID 9 is greater than maxID 8',
    ],
    [{ vlan: 100, vlanTrunk: [{ minID: 1, maxID: 4094 }] }, 'key "vlanTrunk[0]" has VLAN 100'],
    [{ vlan: 100, vlanTrunk: [{ id: 100 }] }, 'key "vlanTrunk[0]" has VLAN 100'],
    [{ vlan: 1000, isGateway: true, bridge: 'bridge-of-us' }, '"bridge-of-us.1000" would have more than 15'],
    [{ mode: 'l3' }, 'key "ipam" is missing'],
    [{ mode: 'l3', ipam, bridge: 'cni0' }, 'key "bridge": "cni0" has no meaning in mode "l3"'],
    [{ mode: 'l3', ipam, vlan: 5 }, 'key "vlan": 5 has no meaning in mode "l3"'],
    [
      { mode: 'l3', ipam, isDefaultGateway: true },
      'key "isDefaultGateway": true has no meaning in mode "l3"',
    ],
    [{ [attachments]: {} }, 'key "cni.dev/valid-attachments": an object is not a list'],
  ])('refuses %j with code 7, the key and a hint', (keys, says) => {
    const fault = faultOf(() => decodeConfig(text(keys)))
    expect(fault.code).toBe(7)
    expect(fault.message).toContain(says)
    expect(fault.hint).toMatch(/^[A-Z].*\.$/)
  })

  it.each([
    { vlan: 100, vlanTrunk: [{ id: 101 }, { minID: 200, maxID: 210 }], preserveDefaultVlan: true },
    {
      vlan: 100,
      vlanTrunk: [
        { minID: 1, maxID: 99 },
        { minID: 101, maxID: 4094 },
      ],
    },
    { vlanTrunk: [] },
    { vlanTrunk: [{ id: 1, minID: 5, maxID: 6 }] },
    { mtu: 0, vlan: 0 },
    { isGateway: true, vlan: 1000, bridge: 'bridge-abc' },
    { disableContainerInterface: true },
    { mode: 'l3', ipam, isGateway: false, mtu: 1450, ipMasq: true },
    { ipam: { type: 'host-local', subnet: '10.1.0.0/24', rangeStart: '10.1.0.9', gateway: '10.1.0.1' } },
    { runtimeConfig: { ips: ['10.1.0.5', 'fd00::5'], 'io.kubernetes.cri.pod-annotations': { a: 'b' } } },
  ])('takes %j as it is', (keys) => {
    expect(asText(decodeConfig(text(keys)))).toEqual({ ...base, ...keys })
  })

  it('keeps of a strange IPAM plugin only what fits', () => {
    const given = {
      type: 'whereabouts',
      range: '10.0.0.0/24',
      gateway: 'auto',
      routes: [{ dst: '0.0.0.0/0' }],
      ranges: 3,
    }
    const { gateway: _, ranges: __, ...kept } = given
    expect(asText(decodeConfig(text({ ipam: given })).ipam)).toEqual(kept)
  })

  it('shows neither a long value nor the inside of an object', () => {
    expect(faultOf(() => decodeConfig(text({ mode: 'x'.repeat(5000) }))).message.length).toBeLessThan(120)
    expect(faultOf(() => decodeConfig(text({ mtu: { password: 'secret' } }))).message).not.toContain('secret')
  })
})

describe('decodeForRemoval', () => {
  it('leaves out what is invalid and keeps the rest', () => {
    const config = decodeForRemoval(
      text({
        mtu: 'x',
        ipMasq: true,
        hairpinMode: true,
        promiscMode: true,
        ipam: { type: 'bowline-ipam', ranges: 'none', dataDir: '/d' },
        runtimeConfig: { mac: 'zz', portMappings: [{ hostPort: 0 }], ips: ['10.0.0.1'] },
      }),
    )
    expect(asText(config)).toEqual({
      ...base,
      ipMasq: true,
      hairpinMode: true,
      promiscMode: true,
      ipam: { type: 'bowline-ipam', dataDir: '/d' },
      runtimeConfig: { ips: ['10.0.0.1'] },
    })
  })

  it('is not stopped by an ipam that is no object', () => {
    expect(decodeForRemoval(text({ ipam: 'gone' }))).toEqual(base)
  })

  it.each([
    ['{', 6],
    ['{"name":"a/b"}', 7],
    ['{"name":"n","cniVersion":"9.9.9"}', 1],
  ])('still refuses %s with code %i', (broken, code) => {
    expect(faultOf(() => decodeForRemoval(broken)).code).toBe(code)
  })
})

describe('decodeForIpam', () => {
  it('leaves alone what another plugin means by our keys', () => {
    const macvlan = {
      type: 'macvlan',
      mode: 'bridge',
      mtu: 'auto',
      vlan: 5,
      hairpinMode: true,
      promiscMode: true,
    }
    const runtimeConfig = { portMappings: 'all', ips: ['10.1.0.5'] }
    const { mode: _, mtu: __, ...kept } = macvlan
    const config = decodeForIpam(text({ ...macvlan, ipam, runtimeConfig }))
    expect(asText(config)).toEqual({ ...base, ...kept, ipam, runtimeConfig: { ips: ['10.1.0.5'] } })
  })

  it('takes mode l3 of another plugin, which says nothing of a bridge', () => {
    expect(asText(decodeForIpam(text({ type: 'ipvlan', mode: 'l3', bridge: 'x', ipam })).ipam)).toEqual(ipam)
  })

  it.each([
    [{ ipam: 5 }, 'key "ipam": 5'],
    [{ ipam: { ...ipam, ranges: [[{}]] } }, 'key "ipam.ranges[0][0].subnet" is missing'],
    [{ runtimeConfig: { ips: ['x'] } }, 'key "runtimeConfig.ips[0]": "x"'],
    [{ runtimeConfig: { ipRanges: 'x' } }, 'key "runtimeConfig.ipRanges": "x"'],
    [{ args: { cni: { ips: ['x'] } } }, 'key "args.cni.ips[0]": "x"'],
  ])('refuses %j, which addresses depend on', (keys, says) => {
    expect(faultOf(() => decodeForIpam(text(keys))).message).toContain(says)
  })
})

describe('validAttachments', () => {
  const valid = (value: unknown, key = attachments) => validAttachments(decodeForGc(text({ [key]: value })))

  it('lists what must stay', () => {
    const { all, has } = valid([{ containerID: 'a', ifname: 'eth0' }])
    expect(all).toEqual([{ containerId: 'a', ifName: 'eth0' }])
    expect([has('a', 'eth0'), has('a', 'eth1'), has('b', 'eth0'), has('a'), has('b')]).toEqual([
      true,
      false,
      false,
      true,
      false,
    ])
  })

  it.each([null, []].map((value) => [value]))('takes %j for none', (value) => {
    expect(valid(value).all).toEqual([])
  })

  it('is read from the old key as well, and from the new one if both are there', () => {
    const old = 'cni.dev/attachments'
    expect(valid([{ containerID: 'a', ifname: 'eth0' }], old).has('a', 'eth0')).toBe(true)
    expect(valid(null, old).all).toEqual([])
    const both = text({ [attachments]: null, [old]: [{ containerID: 'a', ifname: 'eth0' }] })
    expect(validAttachments(decodeForGc(both)).all).toEqual([])
  })

  it('names the item that it can not read', () => {
    const fault = faultOf(() => valid([{ containerID: 'a', ifname: 'eth0' }, { containerID: 'b' }]))
    expect(fault.message).toContain('cni.dev/valid-attachments[1].ifname')
  })

  it.each([
    [undefined],
    [{}],
    [[{ containerID: 'a', ifname: 'eth0' }, { containerID: 'b' }]],
    [
      [
        { containerID: 'a', ifname: 'eth0' },
        { containerID: 5, ifname: 'eth0' },
      ],
    ],
    [[null]],
  ])('refuses %j, rather than take a live attachment for a stale one', (value) => {
    expect(faultOf(() => valid(value)).code).toBe(7)
  })
})

describe('versionForErrors', () => {
  it.each([
    ['{"CNIVersion":"0.4.0","mtu":"x"}', '0.4.0'],
    ['{}', '0.1.0'],
    ['{"cniVersion":"9.9.9"}', '1.1.0'],
    ['{', '1.1.0'],
    ['[]', '1.1.0'],
  ])('says for %s: %s', (given, version) => {
    expect(versionForErrors(given)).toBe(version)
  })
})
