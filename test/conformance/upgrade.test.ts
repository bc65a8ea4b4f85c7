import { expect } from 'vitest'
import { type Case, conform } from '../support/conformance/cases.ts'
import {
  add,
  type Config,
  createPod,
  done,
  freshNode,
  leftovers,
  NO_LEFTOVERS,
  reaches,
  rulesNaming,
  useNode,
} from '../support/conformance/node.ts'
import { CACHE } from '../support/node/plugin.ts'
import { run } from '../support/node/private_namespaces.ts'
import { MASQUERADE_COMMANDS } from '../support/readme_commands.ts'

// What an earlier release of the reference plugins has made: Debian's 1.1.1, which knows CNI 1.0.0 and iptables.
useNode()

const OLD = `${CACHE}/debian/usr/lib/cni`

function network(main: string, ipam: string, more: Record<string, unknown> = {}): Config {
  return {
    cniVersion: '1.0.0',
    name: 'net',
    type: main,
    bridge: 'cni0',
    isGateway: true,
    ipam: { type: ipam, ranges: [[{ subnet: '10.1.0.0/24' }]], routes: [{ dst: '0.0.0.0/0' }] },
    ...more,
  }
}

const OLD_HOW = { program: `${OLD}/bridge`, cniPath: OLD }

const UPGRADE: readonly Case[] = [
  {
    id: 'G18',
    title: 'DEL of a pod that an earlier bridge and host-local attached leaves no link and no lease',
    expectReference: 'passes',
    async run(subject) {
      const pod = createPod()
      await add(network('bridge', 'host-local'), pod, OLD_HOW)
      await done('DEL', network(subject.bridged.type, subject.ipam), pod)
      expect(await leftovers('10.1.0.2')).toEqual(NO_LEFTOVERS)
    },
  },
  {
    id: 'G18b',
    title:
      'its iptables masquerading does no harm after a DEL, and ends at the latest with the README’s line',
    expectReference: 'passes',
    async run(subject) {
      const [pod, next] = [createPod(), createPod('next')]
      await add(network('bridge', 'host-local', { ipMasq: true }), pod, OLD_HOW)
      const config = network(subject.bridged.type, subject.ipam, { ipMasq: true })
      await done('DEL', config, pod)
      expect(await leftovers()).toEqual(NO_LEFTOVERS)
      await add({ ...config, runtimeConfig: { ips: ['10.1.0.2/24'] } }, next)
      expect(await reaches('10.1.0.1', next), 'who has the address now reaches its gateway').toBe(true)
      await done('DEL', config, next)
      run(MASQUERADE_COMMANDS.iptables)
      expect(await leftovers('10.1.0.2'), 'no rule is left').toEqual(NO_LEFTOVERS)
    },
  },
  {
    id: 'G18e',
    title: 'so does the masquerading of the current release by either program, and that of another pod stays',
    expectReference: 'passes',
    async run(subject) {
      for (const ipMasqBackend of ['iptables', 'nftables'] as const) {
        freshNode()
        const [a, b] = [createPod('a'), createPod('b')]
        const masquerading = { ipMasq: true, ipMasqBackend }
        for (const pod of [a, b]) await add(network('bridge', 'host-local', masquerading), pod)
        const config = network(subject.bridged.type, subject.ipam, masquerading)
        await done('DEL', config, a)
        expect(rulesNaming(['10.1.0.3']), 'the rule of the other pod').not.toEqual([])
        await done('DEL', config, b)
        run(MASQUERADE_COMMANDS[ipMasqBackend])
        expect(await leftovers('10.1.0.2', '10.1.0.3'), 'no rule is left').toEqual(NO_LEFTOVERS)
      }
    },
  },
  {
    id: 'G18c',
    title: 'an address that an earlier host-local has given is not given again while its pod is there',
    expectReference: 'passes',
    async run(subject) {
      await add(network('bridge', 'host-local'), createPod('a'), OLD_HOW)
      const result = await add(network(subject.bridged.type, subject.ipam), createPod('b'))
      expect(result.ips).toMatchObject([{ address: '10.1.0.3/24' }])
    },
  },
  {
    id: 'G18d',
    title: 'a node that goes back to an earlier release keeps its addresses, and that release frees them',
    expectReference: 'passes',
    async run(subject) {
      const [a, b] = [createPod('a'), createPod('b')]
      await add(network(subject.bridged.type, subject.ipam), a)
      const result = await add(network('bridge', 'host-local'), b, OLD_HOW)
      expect(result.ips).toMatchObject([{ address: '10.1.0.3/24' }])
      await done('DEL', network('bridge', 'host-local'), a, OLD_HOW)
      expect((await leftovers()).leases).toEqual(['networks/net/10.1.0.3'])
      await done('DEL', network('bridge', 'host-local'), b, OLD_HOW)
      expect(await leftovers()).toEqual(NO_LEFTOVERS)
    },
  },
]

conform(...UPGRADE)
