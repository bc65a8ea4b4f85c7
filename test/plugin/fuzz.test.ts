import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createFakeNode, type FakeAnswer, type FakeCall, type FakeNode, L2, L3 } from '../fakes/node.ts'
import { malformedObject, malformedText } from '../support/damage.ts'

/*
 * Malformed input as a whole, on a healthy node: every answer is one that a runtime understands, nothing but what the
 * specification knows comes out, and no call leaves half of anything.
 */

const COMMANDS = ['ADD', 'DEL', 'CHECK', 'STATUS', 'GC', 'VERSION']
const FULL = {
  ...L2,
  mtu: 1400,
  dns: { nameservers: ['10.0.0.10'], domain: 'd', search: ['s'], options: ['o'] },
  args: { cni: { mac: '02:00:00:00:00:01', ips: ['10.1.0.9'] } },
  runtimeConfig: {
    mac: '02:00:00:00:00:02',
    ips: ['fd00:1::9'],
    portMappings: [{ hostPort: 1, containerPort: 2 }],
  },
  'cni.dev/valid-attachments': [{ containerID: 'c1', ifname: 'eth0' }],
}
const CONFIGS = [L3, L2, FULL]
const ARGS = 'IgnoreUnknown=1;IP=10.1.0.7,fd00:1::7;MAC=02:00:00:00:00:05;K8S_POD_NAME=web'

describe('a configuration of any text', () => {
  const text = malformedText(CONFIGS.map((config) => JSON.stringify(config)))

  it('is answered, and refused without a trace unless it says what to do', () => {
    fc.assert(
      fc.property(fc.constantFrom(...COMMANDS), text, (command, stdin) => {
        expectSoundCall(createFakeNode(), command, { stdin })
      }),
      { numRuns: 400 },
    )
  })
})

describe('a configuration with hostile values', () => {
  it('is answered, and either served whole or refused without a trace', () => {
    let served = 0
    fc.assert(
      fc.property(fc.constantFrom('ADD', 'STATUS', 'CHECK'), malformedObject(CONFIGS), (command, config) => {
        const node = createFakeNode()
        const answer = expectSoundCall(node, command, { config })
        if (command !== 'ADD' || answer.exitCode !== 0) return
        served++
        const check = node.call('CHECK', { config: { ...config, prevResult: answer.json } })
        // A version may be too old for CHECK.
        if (check.exitCode !== 0) expect(check.json['code'], check.stdout).toBe(1)
        expect(node.call('DEL', { config })).toMatchObject({ exitCode: 0 })
        expect(node.residue()).toEqual([])
      }),
      { numRuns: 1000 },
    )
    // About 17 of them.
    expect(served).toBeGreaterThan(2)
  })

  it('does not keep a DEL or GC from removing what an ADD has made, unless it takes the name of the network', () => {
    fc.assert(
      fc.property(fc.constantFrom('DEL', 'GC'), malformedObject(CONFIGS), (command, config) => {
        const node = createFakeNode()
        node.call('ADD')
        const valid = { ...config, 'cni.dev/valid-attachments': [], ipam: withoutOtherPlugin(config) }
        const answer = expectSoundCall(node, command, { config: valid })
        const isOfNet = 'name' in config && config.name === 'net'
        if (answer.exitCode !== 0) expect([1, 7], answer.stdout).toContain(answer.json['code'])
        else expect(node.residue().length === 0).toBe(isOfNet)
      }),
      { numRuns: 400 },
    )
  })
})

describe('a prevResult of any form', () => {
  const config = L3
  const result = createFakeNode().call('ADD', { config }).json

  it('makes CHECK succeed only if it names what is there, and changes nothing', () => {
    fc.assert(
      fc.property(malformedObject([result]), (prevResult) => {
        const node = createFakeNode()
        node.call('ADD', { config })
        const before = node.snapshot()
        const answer = expectSoundCall(node, 'CHECK', { config: { ...config, prevResult } })
        if (answer.exitCode === 0) expect(JSON.stringify(prevResult)).toContain('"eth0"')
        expect(node.snapshot()).toEqual(before)
      }),
      { numRuns: 400 },
    )
  })

  it('is nothing to a DEL', () => {
    fc.assert(
      fc.property(fc.oneof(malformedObject([result]), fc.jsonValue()), (prevResult) => {
        const node = createFakeNode()
        node.call('ADD', { config })
        expect(node.call('DEL', { config: { ...config, prevResult } })).toMatchObject({ exitCode: 0 })
        expect(node.residue()).toEqual([])
      }),
      { numRuns: 300 },
    )
  })
})

describe('CNI_ARGS of any text', () => {
  it('give what they ask for, or are refused with their name', () => {
    fc.assert(
      fc.property(malformedText([ARGS]), (args) => {
        const node = createFakeNode()
        const answer = expectSoundCall(node, 'ADD', { args })
        if (answer.exitCode !== 0) expect(answer.stdout).toMatch(/CNI_ARGS|the requested address/)
      }),
      { numRuns: 400 },
    )
  })
})

/** Calls the plugin; checks what must be true of any answer. A failed ADD has left no trace. */
function expectSoundCall(node: FakeNode, command: string, call: FakeCall): FakeAnswer {
  const answer = node.call(command, call)
  const { exitCode, stdout, json } = answer
  expect([0, 1]).toContain(exitCode)
  expect(stdout.includes('\n')).toBe(false)
  if (exitCode !== 0) {
    expect(json).toMatchObject({
      cniVersion: expect.stringMatching(/^[01]\.[0-4]\.[01]$/),
      msg: expect.any(String),
    })
    expect([1, 2, 4, 6, 7, 8, 50, 101, 102, 103, 104], stdout).toContain(json['code'])
    if (command === 'ADD') expect(node.residue()).toEqual([])
  }
  return answer
}

/** A DEL has to call another IPAM plugin that the configuration names; here there is none. */
function withoutOtherPlugin(config: object): unknown {
  const ipam = 'ipam' in config ? config.ipam : undefined
  return typeof ipam === 'object' && ipam !== null ? { ...ipam, type: 'bowline-ipam' } : ipam
}
