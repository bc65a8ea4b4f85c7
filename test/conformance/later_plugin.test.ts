import { expect } from 'vitest'
import { type Case, conform, versionsFrom } from '../support/conformance/cases.ts'
import {
  add,
  bridged,
  createPod,
  done,
  leftovers,
  NO_LEFTOVERS,
  refused,
  useNode,
} from '../support/conformance/node.ts'

// Behind another plugin of a list: what it has made is kept, and told on.
useNode()

const IGNORED = {
  fails: 'it takes no notice of what the plugin before it has made',
  at: /what was there before/,
}

/** The result of a plugin that made `other0`, in the form of a version. */
function previousResult(cniVersion: string, sandbox: string): Record<string, unknown> {
  const version = cniVersion < '1.0.0' ? { version: '4' } : {}
  return {
    cniVersion,
    interfaces: [{ name: 'other0', mac: '02:00:00:00:00:01', sandbox }],
    ips: [{ ...version, address: '192.0.2.9/24', gateway: '192.0.2.1', interface: 0 }],
    routes: [{ dst: '198.51.100.0/24', gw: '192.0.2.1' }],
    dns: { nameservers: ['192.0.2.53'] },
  }
}

const LATER: readonly Case[] = [
  {
    id: 'G14',
    title: 'keeps the interfaces and addresses of the result before it, index 0 too, and adds its own',
    versions: versionsFrom('0.3.0'),
    expectReference: IGNORED,
    async run(subject, version) {
      const pod = createPod()
      const prevResult = previousResult(version, pod.path)
      const {
        interfaces = [],
        ips = [],
        routes,
        dns,
      } = await add(bridged(subject, version, { prevResult }), pod)
      const before = ips.find(({ address }) => address === '192.0.2.9/24')
      expect(interfaces[before?.interface ?? -1]?.name, 'what was there before').toBe('other0')
      const own = ips.find(({ address }) => address === '10.1.0.2/24')
      expect(interfaces[own?.interface ?? -1]).toMatchObject({ name: 'eth0', sandbox: pod.path })
      expect(routes).toEqual(
        expect.arrayContaining([{ dst: '198.51.100.0/24', gw: '192.0.2.1' }, { dst: '0.0.0.0/0' }]),
      )
      expect(dns).toEqual({ nameservers: ['192.0.2.53'] })
    },
  },
  {
    id: 'G14b',
    title: 'passes CHECK with the result of the whole list, and DEL takes away its own part only',
    versions: versionsFrom('0.4.0'),
    expectReference: 'passes',
    async run(subject, version) {
      const pod = createPod()
      const config = bridged(subject, version, { prevResult: previousResult(version, pod.path) })
      const prevResult = await add(config, pod)
      await done('CHECK', { ...config, prevResult }, pod)
      await done('DEL', { ...config, prevResult }, pod)
      expect(await leftovers()).toEqual(NO_LEFTOVERS)
    },
  },
  {
    id: 'G14c',
    title: 'refuses a result that is malformed, or of a version that it does not speak, and does nothing',
    expectReference: { fails: 'it does not look at it', at: /ADD is refused/ },
    async run(subject, version) {
      const pod = createPod()
      for (const prevResult of [
        { cniVersion: '9.9.9' },
        { cniVersion: version, ips: [{ address: 'nowhere' }] },
      ]) {
        await refused('ADD', bridged(subject, version, { prevResult }), pod)
      }
      expect(await leftovers()).toEqual(NO_LEFTOVERS)
    },
  },
]

conform(...LATER)
