import { expect } from 'vitest'
import { type Case, conform, type Subject, type Version } from '../support/conformance/cases.ts'
import {
  bridged,
  type Config,
  createPod,
  ipamOf,
  leftovers,
  listOf,
  NO_LEFTOVERS,
  PLUGINS,
  type Pod,
  routed,
  SUBNET4,
  useNode,
} from '../support/conformance/node.ts'
import type { PluginOutput } from '../support/node/plugin.ts'
import { run } from '../support/node/private_namespaces.ts'
import { measureTransfer } from '../support/node/transfer.ts'
import { type Asked, Cnitool } from '../support/runtimes/cnitool.ts'

// What the tests of the reference plugin `bandwidth` ask, of it behind `bridge` and `ptp`, and of ours alone.
useNode()

const cnitool = new Cnitool(`${PLUGINS}/net.d`, PLUGINS)
const RATES = { ingressRate: 8_000_000, ingressBurst: 80_000, egressRate: 16_000_000, egressBurst: 160_000 }
const asked = (bandwidth: object): Asked => ({ capabilities: { bandwidth } })

/** Makes a network whose pods may be limited. `keys` are those of the plugin that limits them. */
function network(subject: Subject, kind: Config, keys: Record<string, unknown> = {}): void {
  const limiter = { capabilities: { bandwidth: true }, ...keys }
  const config = { ...kind, ipam: ipamOf(subject, [SUBNET4]) }
  cnitool.define(
    subject.name === 'bowline'
      ? listOf({ ...config, ...limiter }, [])
      : listOf(config, [{ type: 'bandwidth', ...limiter }]),
  )
}

function kinds(subject: Subject, version: Version): Config[] {
  return [bridged(subject, version, { isGateway: true }), routed(subject, version)]
}

async function attach(pod: Pod, how: Asked): Promise<PluginOutput> {
  return JSON.parse(await cnitool.run('add', 'net', pod, how))
}

/** Returns the rates that `tc` shows of the limits on the host's end, and on all links that limit what pods send. */
function limits({ interfaces = [] }: PluginOutput): { toPod: string[]; fromPod: string[] } {
  const host = interfaces.find(({ name }) => name.startsWith('veth'))?.name
  const rates = (lines: string) => [...lines.matchAll(/tbf .*? rate (\S+)/g)].map(([, rate = '']) => rate)
  const all = run('tc qdisc show').split('\n')
  return {
    toPod: rates(all.filter((line) => line.includes(`dev ${host} `)).join('\n')),
    fromPod: rates(all.filter((line) => / dev bw/.test(line)).join('\n')),
  }
}

async function expectNothingLeft(): Promise<void> {
  expect(run('ip -o link show type ifb')).toBe('')
  expect(await leftovers()).toEqual(NO_LEFTOVERS)
}

const CASES: readonly Case[] = [
  {
    id: '41b',
    title: 'bandwidth limits both directions as the runtime asks, passes CHECK, and ends with the pod',
    expectReference: 'passes',
    async run(subject, version) {
      for (const kind of kinds(subject, version)) {
        network(subject, kind)
        const pod = createPod(kind.type === 'ptp' || 'mode' in kind ? 'routed' : 'bridged')
        const result = await attach(pod, asked(RATES))
        expect(limits(result)).toEqual({ toPod: ['8Mbit'], fromPod: ['16Mbit'] })
        expect(result.interfaces?.map(({ name }) => name)).toContainEqual(expect.stringMatching(/^bw/))
        await cnitool.run('check', 'net', pod, asked(RATES))
        for (let i = 0; i < 2; i++) await cnitool.run('del', 'net', pod, asked(RATES))
        await expectNothingLeft()
      }
    },
  },
  {
    id: '41c',
    title: 'bandwidth limits one direction alone, and neither for rates of 0',
    expectReference: 'passes',
    async run(subject, version) {
      network(subject, bridged(subject, version, { isGateway: true }))
      const { ingressRate, ingressBurst, egressRate, egressBurst } = RATES
      const cases: [object, ReturnType<typeof limits>][] = [
        [
          { ingressRate, ingressBurst },
          { toPod: ['8Mbit'], fromPod: [] },
        ],
        [
          { egressRate, egressBurst },
          { toPod: [], fromPod: ['16Mbit'] },
        ],
        [
          { ingressRate: 0, ingressBurst: 0, egressRate: 0, egressBurst: 0 },
          { toPod: [], fromPod: [] },
        ],
      ]
      const pod = createPod()
      for (const [rates, expected] of cases) {
        expect(limits(await attach(pod, asked(rates)))).toEqual(expected)
        await cnitool.run('del', 'net', pod, asked(rates))
      }
    },
  },
  {
    id: '41d',
    title: 'bandwidth keys of the config replace what the runtime asks',
    expectReference: 'passes',
    async run(subject, version) {
      const keys = { ingressRate: 24_000_000, ingressBurst: 240_000 }
      network(subject, bridged(subject, version, { isGateway: true }), keys)
      expect(limits(await attach(createPod(), asked(RATES)))).toEqual({ toPod: ['24Mbit'], fromPod: [] })
    },
  },
  {
    id: '41e',
    title: 'bandwidth refuses a rate without a burst, a burst without a rate, and a burst of 4 GB',
    expectReference: 'passes',
    async run(subject, version) {
      network(subject, bridged(subject, version, { isGateway: true }))
      const pod = createPod()
      const wrong = [
        { ingressRate: 8 },
        { egressBurst: 8 },
        { ingressRate: 8, ingressBurst: 8 * (2 ** 32 - 1) },
      ]
      for (const rates of wrong)
        await expect(attach(pod, asked(rates)), JSON.stringify(rates)).rejects.toThrow()
    },
  },
  {
    id: '41f',
    title: 'bandwidth says by CHECK that a limit is gone',
    versions: ['1.1.0'],
    expectReference: {
      fails: 'it looks only at the disciplines that are there',
      at: /resolved .* instead of rejecting/,
    },
    async run(subject, version) {
      network(subject, bridged(subject, version, { isGateway: true }))
      const pod = createPod()
      const { interfaces = [] } = await attach(pod, asked(RATES))
      run(`tc qdisc del dev ${interfaces.find(({ name }) => name.startsWith('bw'))?.name} root`)
      await expect(cnitool.run('check', 'net', pod, asked(RATES))).rejects.toThrow()
    },
  },
  {
    id: '41g',
    title: 'bandwidth slows the pod that is limited, and no other',
    expectReference: 'passes',
    async run(subject, version) {
      network(subject, bridged(subject, version, { isGateway: true }))
      const [limited, free] = [createPod('limited'), createPod('free')]
      await attach(limited, asked(RATES))
      await attach(free, {})
      const how = { protocol: 'tcp', ms: 1000, offered: 0, from: undefined } as const
      const slow = await measureTransfer({ ...how, to: limited, address: '10.1.0.2' })
      const fast = await measureTransfer({ ...how, to: free, address: '10.1.0.3' })
      expect(slow).toBeLessThan(1.3 * RATES.ingressRate)
      expect(fast).toBeGreaterThan(2 * RATES.ingressRate)
    },
  },
  {
    id: '41h',
    title: 'bandwidth holds a pod to its rate with the burst that containerd sends, 2^32 - 1 bits',
    expectReference: {
      fails:
        'it takes the burst at its word: the first half gigabyte (at low rates a part of it) passes at once',
      at: /to be less than/,
    },
    async run(subject, version) {
      network(subject, bridged(subject, version, { isGateway: true }))
      const burst = 2 ** 32 - 1
      const pod = createPod()
      await attach(pod, asked({ ...RATES, ingressBurst: burst, egressBurst: burst }))
      const how = {
        protocol: 'tcp',
        ms: 1000,
        offered: 0,
        from: undefined,
        to: pod,
        address: '10.1.0.2',
      } as const
      expect(await measureTransfer(how)).toBeLessThan(1.3 * RATES.ingressRate)
    },
  },
  {
    id: '41i',
    title: 'bandwidth lets packets pass with a burst that is smaller than one',
    expectReference: {
      fails: 'its bucket never holds a whole packet, so none of full size passes',
      at: /nothing arrived|waited|timed out/i,
    },
    async run(subject, version) {
      network(subject, bridged(subject, version, { isGateway: true }))
      const pod = createPod()
      await attach(pod, asked({ ingressRate: 8_000_000, ingressBurst: 8000 }))
      const how = {
        protocol: 'udp',
        ms: 500,
        offered: 16e6,
        from: undefined,
        to: pod,
        address: '10.1.0.2',
      } as const
      expect(await measureTransfer(how)).toBeGreaterThan(4e6)
    },
  },
  {
    id: '41j',
    title: 'bandwidth limits two interfaces of one container each for itself',
    expectReference: {
      fails: 'both would have the same ifb link, which is named without the interface',
      at: /file exists/,
    },
    async run(subject, version) {
      network(subject, bridged(subject, version, { isGateway: true }))
      const pod = createPod()
      await attach(pod, asked(RATES))
      const second = { ...asked(RATES), ifName: 'eth1' } as Asked
      await cnitool.run('add', 'net', pod, second)
      expect(run('ip -o link show type ifb').split('\n')).toHaveLength(2)
      await cnitool.run('del', 'net', pod, second)
      expect(run('ip -o link show type ifb').split('\n')).toHaveLength(1)
    },
  },
]

conform(...CASES)
