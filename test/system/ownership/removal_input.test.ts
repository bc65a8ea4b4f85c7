import { describe, expect, it } from 'vitest'
import { L2, L3 } from '../../fakes/node.ts'
import type { PluginAnswer, PluginCall } from '../../support/node/plugin.ts'
import { callFor, expectSuccess, leftOver, usePods } from '../../support/node/pods.ts'
import { NOTHING, residue } from '../../support/node/sandbox.ts'

/*
 * DEL and GC get whatever a runtime has kept: a removal is not stopped by the size, the depth or the shape of what it
 * does not need, nor by CNI_ARGS.
 */
const MEBIBYTE = 1 << 20
const DEEP = `${'['.repeat(100_000)}${']'.repeat(100_000)}`
const DEEP_OBJECT = `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`
/** This and the next are longer than the 4 MiB that ADD reads. */
const LONG = JSON.stringify('x\\"'.repeat(MEBIBYTE))
const MANY = `[${'{"dst":"10.0.0.0/8"},'.repeat(200_000)}{}]`

/** The text of what stands at the key `prevResult`. */
const RESULTS: Readonly<Record<string, string>> = {
  'of 5 MB, one string': `{"cniVersion":"1.1.0","junk":${LONG}}`,
  'of 4 MB, many routes': `{"cniVersion":"1.1.0","routes":${MANY}}`,
  'of 20 MB': JSON.stringify({ junk: 'x'.repeat(20 * MEBIBYTE) }),
  'of 100,000 lists in each other': DEEP,
  'of 100,000 objects in each other': `{"ips":${DEEP_OBJECT}}`,
  'that is a text': '"result"',
  'that is a number': '-1e400',
  'that is false': 'false',
  'that is a list': '[1, null, {}]',
  'with values of wrong types': '{"cniVersion":7,"interfaces":{"0":[]},"ips":"none","routes":1,"dns":[]}',
  'with wrong items': '{"interfaces":[null,7,{"name":{},"mac":[],"sandbox":1}],"ips":[{"address":5}]}',
  'that is no JSON': '{"ips":[nothing here],}',
}

/** Members that stand beside those that a removal needs. */
const MEMBERS: Readonly<Record<string, string>> = {
  'a deep member': `"junk":${DEEP}`,
  'a long member': `"junk":${LONG}`,
  'a deep runtimeConfig': `"runtimeConfig":{"ips":${DEEP}}`,
  'deep args': `"args":${DEEP_OBJECT}`,
  'a deep dns': `"dns":{"search":${DEEP}}`,
  'values of wrong types':
    '"args":[],"runtimeConfig":"x","dns":7,"mtu":{},"bridge":[],"ipMasq":"maybe","capabilities":1,"vlanTrunk":{}',
}

const ARGS = [
  'IgnoreUnknown=1;K8S_POD_NAME=a;IgnoreUnknown=true',
  'IP=10.1.0.9;IP=10.1.0.8',
  'A;=;==;A=B=C;;;',
  'IP=nonsense;MAC=nonsense',
  '__proto__=1;__proto__=2;constructor=3',
  `A=${'x'.repeat(100_000)}`,
]

const [pod] = usePods('pod')

/** host-local is a process of its own, which gets the text as well. */
const HOST_LOCAL = { ...L2, ipam: { ...L2.ipam, type: 'host-local' } }

it.each([
  ...Object.entries(RESULTS).map(([what, text]) => [what, 'bowline-ipam', L3, text] as const),
  ...['of 20 MB', 'of 100,000 lists in each other', 'with wrong items'].map(
    (what) => [what, 'host-local', HOST_LOCAL, RESULTS[what] ?? ''] as const,
  ),
])('DEL takes a prevResult %s (%s)', async (_, __, config, text) => {
  expectSuccess(await call('ADD', config))
  expectSuccess(await call('DEL', withMember(config, `"prevResult":${text}`)))
  await expectNothing()
})

it.each(Object.entries(MEMBERS))('DEL and GC take %s', async (_, member) => {
  expectSuccess(await call('ADD', L3))
  expectSuccess(await call('GC', withMember({ ...L3, 'cni.dev/valid-attachments': [] }, member)))
  await expectNothing()
  expectSuccess(await call('ADD', L2))
  expectSuccess(await call('DEL', withMember(L2, member)))
  await expectNothing()
})

it.each([L2, L3])(
  'DEL asks no IPAM plugin that the config names since, for ours gave the addresses',
  async (network) => {
    expectSuccess(await call('ADD', network))
    expectSuccess(await call('DEL', withMember(network, '"ipam":{"type":"nowhere"}')))
    await expectNothing()
  },
)

it('DEL finds the dataDir in an ipam that is too deep to be read whole', async () => {
  const dataDir = '/var/lib/cni/elsewhere'
  const ipam = { type: 'bowline-ipam', dataDir, ranges: L3.ipam.ranges }
  const onIpam = { calledAs: 'bowline-ipam' }
  expectSuccess(await call('ADD', { ...L3, ipam }, onIpam))
  const { ipam: _, ...rest } = L3
  const text = `"ipam":${withMember(ipam, `"junk":${DEEP}`)}`
  expectSuccess(await call('DEL', withMember(rest, text), onIpam))
  await expectNothing()
})

it('GC removes nothing when its list can not be read', async () => {
  expectSuccess(await call('ADD', L3))
  const before = await residue()
  for (const list of [`[{"containerID":${DEEP}}]`, `[${LONG}]`, 'false']) {
    const answer = await call('GC', withMember(L3, `"cni.dev/valid-attachments":${list}`))
    expect([answer.exitCode, answer.output.code]).toEqual([1, 7])
  }
  expect(await residue()).toEqual(before)
})

it.each(['DEL', 'ADD'] as const)('%s refuses a text that is cut short', async (command) => {
  const answer = await call(command, JSON.stringify(L3).slice(0, -1))
  expect([answer.exitCode, answer.output.code]).toEqual([1, 6])
})

it('ADD refuses what is too large or too deep, and leaves nothing', async () => {
  for (const member of [`"junk":${LONG}`, `"junk":${DEEP}`]) {
    const answer = await call('ADD', withMember(L3, member))
    expect([answer.exitCode, answer.output.code]).toEqual([1, 6])
  }
  await expectNothing()
})

describe.each(['bowline', 'bowline-ipam'])('%s', (calledAs) => {
  it.each(ARGS)('DEL takes the CNI_ARGS %j', async (args) => {
    expectSuccess(await call('ADD', L3, { calledAs }))
    expectSuccess(await call('DEL', L3, { calledAs, args }))
    await expectNothing()
  })

  it('ADD takes the last of two values of one key in CNI_ARGS', async () => {
    const args = 'IgnoreUnknown=1;IP=10.1.0.9;IgnoreUnknown=true;IP=10.1.0.8'
    const { output } = await call('ADD', L3, { calledAs, args })
    expect(output.ips?.[0]?.address).toMatch(/^10\.1\.0\.8\//)
  })
})

function call(
  command: PluginCall['command'],
  config: unknown,
  more: Partial<PluginCall> = {},
): Promise<PluginAnswer> {
  return callFor(pod, command, config, more)
}

function withMember(config: object, member: string): string {
  return `${JSON.stringify(config).slice(0, -1)},${member}}`
}

async function expectNothing(): Promise<void> {
  expect(await leftOver()).toEqual(NOTHING)
}
