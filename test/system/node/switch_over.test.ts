import { readdirSync } from 'node:fs'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { fillPluginDirectory, type PluginOutput, runPlugin } from '../../support/node/plugin.ts'
import { run } from '../../support/node/private_namespaces.ts'
import {
  addressesOf,
  clearNode,
  createNetns,
  enterSandbox,
  links,
  removeNetns,
} from '../../support/node/sandbox.ts'
import { MASQUERADE_COMMANDS } from '../../support/readme_commands.ts'

/*
 * A node is switched over from the reference bridge and host-local to Bowline with pods running, and back; and each
 * side delegates to the other's IPAM plugin. The reference plugins are the real ones.
 */
const PLUGINS = '/run/cni-switch'
const LEASES = '/var/lib/cni/networks/switch'
const PODS = ['a', 'b', 'c'] as const

type Pod = (typeof PODS)[number]

/** One call of `main` (the plugin) with `ipam` (its IPAM plugin) for a pod of this name. */
async function call(
  command: 'ADD' | 'DEL',
  pod: Pod,
  main: string,
  ipam: string,
  more: object = {},
): Promise<PluginOutput> {
  const config = {
    ...more,
    cniVersion: '1.0.0',
    name: 'switch',
    type: main,
    bridge: 'cni0',
    isGateway: true,
    ipam: { type: ipam, ranges: [[{ subnet: '10.5.0.0/24' }]], routes: [{ dst: '0.0.0.0/0' }] },
  }
  const netns = `/run/netns/${pod}`
  const program = `${PLUGINS}/${main}`
  const answer = await runPlugin({ command, config, containerId: pod, netns, program, cniPath: PLUGINS })
  expect(answer.exitCode, answer.stdout).toBe(0)
  return answer.output
}

function leases(): string[] {
  return readdirSync(LEASES)
    .filter((name) => name.startsWith('10.'))
    .sort()
}

async function podLinks(): Promise<number> {
  return (await links()).filter(({ ifname }) => ifname.startsWith('veth')).length
}

beforeAll(() => {
  enterSandbox()
  fillPluginDirectory(PLUGINS)
})

beforeEach(() => {
  for (const pod of PODS) createNetns(pod)
})

afterEach(async () => {
  for (const pod of PODS) removeNetns(pod)
  await clearNode()
})

describe('a node that is switched over with a pod running', () => {
  it('gives the next pod another address, and frees that of the old pod', async () => {
    await call('ADD', 'a', 'bridge', 'host-local')
    await call('ADD', 'b', 'bowline', 'bowline-ipam')
    expect(leases()).toEqual(['10.5.0.2', '10.5.0.3'])
    await call('DEL', 'a', 'bowline', 'bowline-ipam')
    expect(leases()).toEqual(['10.5.0.3'])
    expect(await podLinks()).toBe(1)
  })

  it('can be switched back', async () => {
    await call('ADD', 'a', 'bowline', 'bowline-ipam')
    await call('ADD', 'b', 'bridge', 'host-local')
    expect(leases()).toEqual(['10.5.0.2', '10.5.0.3'])
    await call('DEL', 'a', 'bridge', 'host-local')
    await call('DEL', 'b', 'bridge', 'host-local')
    expect(leases()).toEqual([])
    expect(await podLinks()).toBe(0)
  })
})

describe('a pod that the reference bridge masqueraded', () => {
  it.each(['iptables', 'nftables'] as const)(
    'leaves its rules (%s) after our DEL, until the hint',
    async (backend) => {
      const masquerade = { ipMasq: true, ipMasqBackend: backend }
      await call('ADD', 'a', 'bridge', 'host-local', masquerade)
      await call('DEL', 'a', 'bowline', 'bowline-ipam', masquerade)
      expect(leases()).toEqual([])
      expect(await podLinks()).toBe(0)
      expect(run('nft list ruleset')).toMatch(/10\.5\.0\.\d+ /)
      run(MASQUERADE_COMMANDS[backend])
      expect(run('nft list ruleset')).not.toMatch(/10\.5\.0\.|CNI-[0-9a-f]{24}/)
    },
  )
})

describe.each([
  ['bridge', 'bowline-ipam'],
  ['bowline', 'host-local'],
])('%s that delegates to %s', (main, ipam) => {
  it('gives a pod the address and takes it back', async () => {
    await call('ADD', 'c', main, ipam)
    const netns = { name: 'c', path: '/run/netns/c' }
    expect(await addressesOf('eth0', netns)).toContain('10.5.0.2/24')
    expect(leases()).toEqual(['10.5.0.2'])
    await call('DEL', 'c', main, ipam)
    expect(leases()).toEqual([])
    expect(await podLinks()).toBe(0)
  })
})
