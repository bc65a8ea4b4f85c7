import { expect } from 'vitest'
import { type Case, conform, type Subject, type Version } from '../support/conformance/cases.ts'
import {
  bridged,
  type Config,
  createPod,
  freshNode,
  ipamOf,
  leftovers,
  listOf,
  NO_LEFTOVERS,
  PLUGINS,
  type Pod,
  routed,
  useNode,
} from '../support/conformance/node.ts'
import { fetchFrom, startPeerServer } from '../support/node/http_server.ts'
import type { PluginConfig } from '../support/node/plugin.ts'
import { run } from '../support/node/private_namespaces.ts'
import { createOutside, type Netns, runIn } from '../support/node/sandbox.ts'
import { askByUdp, startUdpServer } from '../support/node/udp_server.ts'
import { Cnitool } from '../support/runtimes/cnitool.ts'

/* Host ports: the reference has them from portmap, chained behind bridge or ptp, and ours by itself. */
useNode()

const cnitool = new Cnitool(`${PLUGINS}/net.d`, PLUGINS)
const CAPABILITIES = { portMappings: true }

function network(subject: Subject, config: Config, keys: object = {}): void {
  const portmap: PluginConfig = { type: 'portmap', capabilities: CAPABILITIES, ...keys }
  const isOurs = subject.name === 'bowline'
  cnitool.define(
    isOurs ? listOf({ ...config, capabilities: CAPABILITIES, ...keys }) : listOf(config, [portmap]),
  )
}

async function onEachKind(
  subject: Subject,
  version: Version,
  work: (config: Config) => Promise<unknown>,
): Promise<void> {
  const ipam = ipamOf(subject)
  for (const config of [
    bridged(subject, version, { hairpinMode: true, ipam }),
    routed(subject, version, { ipam }),
  ]) {
    freshNode()
    await work(config)
  }
}

type Port = { hostPort: number; containerPort: number; protocol: string; hostIP?: string }

const WEB: Port = { hostPort: 8000, containerPort: 8080, protocol: 'tcp' }

const asked = (...portMappings: Port[]) => ({ capabilities: { portMappings } })

async function attach(pod: Pod, ...ports: Port[]): Promise<void> {
  await cnitool.run('add', 'net', pod, asked(...ports))
}

async function detach(pod: Pod, ...ports: Port[]): Promise<void> {
  await cnitool.run('del', 'net', pod, asked(...ports))
}

/** Does this while the pod serves the web. */
async function serving(pod: Pod, work: () => Promise<unknown>): Promise<void> {
  const server = await startPeerServer(pod, WEB.containerPort)
  try {
    await work()
  } finally {
    await server.stop()
  }
}

/** The address that the pod sees of a client; '' if it is not reached at once. */
async function seenOf(from: Netns | undefined, address: string): Promise<string> {
  const url = `http://${address}:${WEB.hostPort}/`
  return (await runIn(from, 'curl', '-sgf', '-m', '2', url).catch(() => '')).trim()
}

const CASES: readonly Case[] = [
  {
    id: '39e',
    title: 'a port on one address of the node answers there, and ends with the pod',
    expectReference: 'passes',
    async run(subject, version) {
      await onEachKind(subject, version, async (config) => {
        network(subject, config)
        const outside = createOutside()
        run('ip address add 192.0.2.7/24 dev up0')
        const pod = createPod()
        const port = { ...WEB, hostIP: outside.nodeAddress }
        await attach(pod, port)
        await serving(pod, async () => {
          expect(await fetchFrom(outside.netns, `http://${outside.nodeAddress}:8000/`)).toBe(outside.address)
          expect(await seenOf(outside.netns, '192.0.2.7'), 'the other address').toBe('')
        })
        await cnitool.run('check', 'net', pod, asked(port))
        await detach(pod, port)
        expect(await leftovers('10.1.0.2')).toEqual(NO_LEFTOVERS)
      })
    },
  },
  {
    id: '39f',
    title: 'two pods have the same port by TCP and by UDP, and on other addresses',
    expectReference: 'passes',
    async run(subject, version) {
      await onEachKind(subject, version, async (config) => {
        network(subject, config)
        const outside = createOutside()
        run('ip address add 192.0.2.7/24 dev up0')
        const [a, b, c] = [createPod('a'), createPod('b'), createPod('c')]
        await attach(a, { ...WEB, hostIP: outside.nodeAddress })
        await attach(b, { ...WEB, hostIP: '192.0.2.7' })
        await attach(c, { ...WEB, hostIP: outside.nodeAddress, protocol: 'udp' })
        const udp = await startUdpServer(c, WEB.containerPort, 'c')
        await serving(a, async () => {
          expect(await seenOf(outside.netns, outside.nodeAddress)).toBe(outside.address)
          expect(await askByUdp(outside.netns, outside.nodeAddress, WEB.hostPort)).toBe('c')
          await detach(b)
          expect(await seenOf(outside.netns, outside.nodeAddress)).toBe(outside.address)
        })
        await udp.stop()
      })
    },
  },
  {
    id: '40a',
    title: 'without snat, only those whom the pod can answer reach it',
    expectReference: 'passes',
    async run(subject, version) {
      await onEachKind(subject, version, async (config) => {
        network(subject, config, { snat: false })
        const outside = createOutside()
        const pod = createPod()
        await attach(pod, WEB)
        await serving(pod, async () => {
          expect(await seenOf(outside.netns, outside.nodeAddress)).toBe(outside.address)
          expect(await seenOf(undefined, '127.0.0.1')).toBe('')
        })
      })
    },
  },
  {
    id: '40b',
    title: 'with masqAll the pod sees an address of the node, whoever asks',
    expectReference: 'passes',
    async run(subject, version) {
      await onEachKind(subject, version, async (config) => {
        network(subject, config, { masqAll: true })
        const outside = createOutside()
        const pod = createPod()
        await attach(pod, WEB)
        await serving(pod, async () => {
          expect(await seenOf(outside.netns, outside.nodeAddress)).toBe('10.1.0.1')
        })
      })
    },
  },
  ...(
    [
      ['the port of the node', { hostPort: 0 }],
      ['the port of the pod', { containerPort: 0 }],
    ] as const
  ).map(
    ([what, wrong], i): Case => ({
      id: `40${'cd'[i]}`,
      title: `${what} must be a number from 1 on`,
      expectReference: 'passes',
      async run(subject, version) {
        await onEachKind(subject, version, async (config) => {
          network(subject, config)
          const pod = createPod()
          await expect(attach(pod, { ...WEB, ...wrong })).rejects.toThrow(/port/i)
          await detach(pod)
          expect(await leftovers('10.1.0.2')).toEqual(NO_LEFTOVERS)
        })
      },
    }),
  ),
  {
    id: '39g',
    title:
      'a pod sees the address of another pod of its node that asks by the port, where it answers by the node',
    expectReference: { fails: 'it masquerades all clients of the subnet', at: /10\.1\.0\.1/ },
    async run(subject, version) {
      network(subject, routed(subject, version))
      const outside = createOutside()
      const [pod, other] = [createPod(), createPod('other')]
      await attach(pod, WEB)
      await attach(other)
      await serving(pod, async () => {
        expect(await seenOf(other, outside.nodeAddress)).toBe('10.1.0.3')
      })
    },
  },
  {
    id: '40e',
    title: 'a port that another pod has is refused, and the first pod keeps it',
    expectReference: { fails: 'it takes the port twice', at: /resolved/ },
    async run(subject, version) {
      network(subject, bridged(subject, version))
      const outside = createOutside()
      const [first, second] = [createPod('first'), createPod('second')]
      await attach(first, WEB)
      await expect(attach(second, WEB)).rejects.toThrow(/8000/)
      await detach(second, WEB)
      await serving(first, async () => {
        expect(await seenOf(outside.netns, outside.nodeAddress)).toBe(outside.address)
      })
    },
  },
  {
    id: '40f',
    title: 'what a pod sends to that port of another host is not caught, also where it is on any address',
    expectReference: 'passes',
    async run(subject, version) {
      await onEachKind(subject, version, async (config) => {
        network(subject, { ...config, ipMasq: true })
        const outside = createOutside()
        const [pod, other] = [createPod(), createPod('other')]
        await attach(pod, WEB)
        await attach(other)
        const server = await startPeerServer(outside.netns, WEB.hostPort)
        expect(await seenOf(other, outside.address)).toBe(outside.nodeAddress)
        await server.stop()
      })
    },
  },
]

conform(...CASES)
