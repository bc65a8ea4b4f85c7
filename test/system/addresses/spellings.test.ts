import { describe, expect, it } from 'vitest'
import type { PluginCall } from '../../support/node/plugin.ts'
import { callFor, usePods } from '../../support/node/pods.ts'
import { link, NOTHING, residue } from '../../support/node/sandbox.ts'

/*
 * One thing that can be written in several ways: a key, a hardware address, a path. What is accepted is what the reference
 * takes; a refusal names what it is about and leaves nothing.
 */
const [pod] = usePods('pod')

const RANGES = '"ranges":[[{"subnet":"10.77.0.0/24"}]]'
const IPAM = `{"type":"bowline-ipam",${RANGES}}`

function text(members: string): string {
  return `{"cniVersion":"1.1.0","name":"spelt","type":"bowline","mode":"l3",${members}}`
}

/** The same configuration with the result of ADD, which the runtime adds. */
function withResult(config: string, result: string): string {
  return config.replace(/\}$/, `,"prevResult":${result}}`)
}

describe('a key that stands twice', () => {
  const REPEATED = [
    [`"ipam":${IPAM},"ipam":{}`, 'key "ipam" stands twice'],
    [`"ipam":{},"IPAM":${IPAM}`, 'key "ipam" stands twice, as "ipam" and as "IPAM"'],
    [`"ipam":{},\n\t"\\u0069pam": ${IPAM}`, 'key "ipam" stands twice'],
    [`"ipam":{"type":"static","Type":"bowline-ipam",${RANGES}}`, 'key "ipam.type" stands twice'],
    [
      '"ipam":{"type":"bowline-ipam","ranges":[[{"subnet":"10.77.0.0/24","gateway":"10.77.0.1","gateway":"10.77.0.2"}]]}',
      'key "ipam.ranges[0][0].gateway" stands twice',
    ],
    [`"ipam":${IPAM},"mtu":1400,"MTU":1300`, 'key "mtu" stands twice, as "mtu" and as "MTU"'],
  ] as const

  it.each(REPEATED)('is refused by name, and stops neither DEL nor GC: %s', async (members, says) => {
    const good = text(`"ipam":${IPAM}`)
    const { stdout: result } = await callFor(pod, 'ADD', good)
    const bad = text(members)
    const refusals = [
      await callFor(pod, 'ADD', bad, { containerId: 'other' }),
      await callFor(pod, 'CHECK', withResult(bad, result)),
      await callFor(pod, 'STATUS', bad),
    ]
    for (const [i, { exitCode, output }] of refusals.entries()) {
      expect({ exitCode, ...output }).toMatchObject({
        exitCode: 1,
        code: i === 2 ? 50 : 7,
        msg: expect.stringContaining(says),
      })
    }
    const valid = '"cni.dev/valid-attachments":[{"containerID":"pod","ifname":"eth0"}]'
    expect(await callFor(pod, 'GC', bad.replace(/\}$/, `,${valid}}`))).toMatchObject({
      exitCode: 0,
      stdout: '',
    })
    expect((await residue()).leases).toHaveLength(1)
    expect(await callFor(pod, 'DEL', withResult(bad, result))).toMatchObject({ exitCode: 0, stdout: '' })
    expect(await residue()).toEqual(NOTHING)
  })

  it('is refused by the IPAM plugin alone, and does not stop its DEL', async () => {
    const alone = { calledAs: 'bowline-ipam' }
    const bad = text(`"ipam":${IPAM},"Ipam":${IPAM}`)
    expect((await callFor(pod, 'ADD', bad, alone)).output).toMatchObject({ code: 7 })
    await callFor(pod, 'ADD', text(`"ipam":${IPAM}`), alone)
    expect(await callFor(pod, 'DEL', bad, alone)).toMatchObject({ exitCode: 0 })
    expect(await residue()).toEqual(NOTHING)
  })

  it('in what is not ours to read is nothing to us', async () => {
    const members = `"ipam":${IPAM},"args":{"cni":{"labels":1,"labels":2}},"x":{"ipam":1,"IPAM":2}`
    const { exitCode, stdout } = await callFor(pod, 'ADD', text(members))
    expect(exitCode).toBe(0)
    const twice = stdout.replace('"ips":', '"ips":[],"ips":')
    expect(await callFor(pod, 'CHECK', withResult(text(members), twice))).toMatchObject({
      exitCode: 0,
      stdout: '',
    })
  })
})

describe('a hardware address', () => {
  const FORMS = ['02:AA:bb:cc:dd:10', '02-aa-bb-cc-dd-10', '02aa.bbcc.dd10', '02AA.BBCC.DD10']
  const LONG = ['02:aa:bb:cc:dd:10:00:01', '02aa.bbcc.dd10.0001', `02aa${'.0000'.repeat(9)}`]
  const WAYS: readonly (readonly [
    string,
    (mac: string) => readonly [string, Partial<PluginCall>],
    number,
  ])[] = [
    ['runtimeConfig', (mac) => [`"runtimeConfig":{"mac":"${mac}"}`, {}], 7],
    ['args', (mac) => [`"args":{"cni":{"mac":"${mac}"}}`, {}], 7],
    ['CNI_ARGS', (mac) => ['"mtu":1400', { args: `IgnoreUnknown=1;MAC=${mac}` }], 4],
  ]

  it.each(WAYS)('in %s may have every form of six bytes, and no other length', async (_, way, code) => {
    for (const mac of FORMS) {
      const [members, more] = way(mac)
      const config = text(`"ipam":${IPAM},${members}`)
      const { exitCode, output, stdout } = await callFor(pod, 'ADD', config, more)
      expect(exitCode, stdout).toBe(0)
      expect(output.interfaces?.find(({ sandbox }) => sandbox)?.mac).toBe('02:aa:bb:cc:dd:10')
      expect((await link('eth0', pod))?.address).toBe('02:aa:bb:cc:dd:10')
      const foreign = stdout.replaceAll('02:aa:bb:cc:dd:10', mac)
      expect(await callFor(pod, 'CHECK', withResult(config, foreign), more)).toMatchObject({
        exitCode: 0,
        stdout: '',
      })
      await callFor(pod, 'DEL', config, more)
    }
    for (const mac of [...LONG, '0000.0000.0000', '0100.5e00.0001']) {
      const [members, more] = way(mac)
      const { output } = await callFor(pod, 'ADD', text(`"ipam":${IPAM},${members}`), more)
      expect(output).toMatchObject({ code })
      expect(`${output.msg} ${output.details}`).toContain(
        `"${mac}" is not a unicast hardware address of 6 bytes`,
      )
    }
    expect(await residue()).toEqual(NOTHING)
  })
})

describe('a path that leads elsewhere', () => {
  it.each([
    ['"dataDir":"/var/lib/../lib/leases"', {}, 7, 'key "ipam.dataDir": "/var/lib/../lib/leases"'],
    ['"dataDir":"leases"', {}, 7, 'key "ipam.dataDir": "leases"'],
    ['"resolvConf":"../resolv.conf"', {}, 7, 'key "ipam.resolvConf": "../resolv.conf"'],
    ['"routes":[]', { netns: 'netns/pod' }, 4, 'CNI_NETNS: "netns/pod"'],
  ])('is refused by our own rule, which the message says: %s %j', async (keys, more, code, says) => {
    const { output } = await callFor(
      pod,
      'ADD',
      text(`"ipam":{"type":"bowline-ipam",${RANGES},${keys}}`),
      more,
    )
    expect(output).toMatchObject({ code, msg: expect.stringContaining(says) })
    expect(output.msg).toContain("Bowline's own rule: later processes, in other directories")
    expect(await residue()).toEqual(NOTHING)
  })
})
