import { describe, expect, it } from 'vitest'
import { DEFAULT_PATHS } from '../../src/plugin/ports.ts'
import { DELEGATE_PATH } from '../fakes/delegate.ts'
import {
  createFakeNode,
  type FakeAnswer,
  type FakeCall,
  type FakeNode,
  L2,
  L3,
  NETNS_2,
} from '../fakes/node.ts'
import { HOSTILE_TEXT } from '../support/damage.ts'
import { gcConfig } from '../support/fault_scenarios.ts'

/*
 * Hostile text in every field that becomes a path, an interface, something in nftables, a sysctl or a program. It is
 * refused with the name of its field and leaves no trace, or it is taken: then it can be removed again. Either way
 * nothing is touched but our own directories, and the network beside it is as it was.
 */

const NEIGHBOUR = {
  containerId: 'c2',
  netns: NETNS_2,
  config: { ...L3, name: 'neighbour', ipam: { ...L3.ipam, ranges: [[{ subnet: '10.2.0.0/24' }]] } },
}

/** The fields whose text is a path. */
const PATHS = ['ipam.dataDir', 'ipam.resolvConf']

/** Fields, and the call that has some text in it. */
const FIELDS: Record<string, (text: string) => FakeCall> = {
  CNI_CONTAINERID: (containerId) => ({ containerId }),
  CNI_IFNAME: (ifName) => ({ ifName }),
  CNI_NETNS: (netns) => ({ netns }),
  CNI_ARGS: (args) => ({ args }),
  'CNI_ARGS: IP': (text) => ({ args: `IP=${text}` }),
  'CNI_ARGS: MAC': (text) => ({ args: `MAC=${text}` }),
  'CNI_ARGS: a key that nobody knows': (text) => ({ args: `K8S_POD_NAME=${text}` }),
  name: (name) => ({ config: { ...L3, name } }),
  bridge: (bridge) => ({ config: { ...L2, bridge } }),
  mode: (mode) => ({ config: { ...L3, mode } }),
  'ipam.type': (type) => ({ config: { ...L3, ipam: { type } } }),
  'ipam.dataDir': (dataDir) => ({ config: { ...L3, ipam: { ...L3.ipam, dataDir } } }),
  'ipam.resolvConf': (resolvConf) => ({ config: { ...L3, ipam: { ...L3.ipam, resolvConf } } }),
  'ipam.ranges.subnet': (subnet) => ({ config: { ...L3, ipam: { ...L3.ipam, ranges: [[{ subnet }]] } } }),
  'ipam.routes.dst': (dst) => ({ config: { ...L3, ipam: { ...L3.ipam, routes: [{ dst }] } } }),
  dns: (text) => ({
    config: { ...L3, dns: { nameservers: [text], domain: text, search: [text], options: [text] } },
  }),
  'args.cni.ips': (text) => ({ config: { ...L3, args: { cni: { ips: [text] } } } }),
  'args.cni.mac': (mac) => ({ config: { ...L3, args: { cni: { mac } } } }),
  'args.cni.something': (text) => ({ config: { ...L3, args: { cni: { [text]: text } } } }),
  'runtimeConfig.mac': (mac) => ({ config: { ...L3, runtimeConfig: { mac } } }),
  'runtimeConfig.ips': (text) => ({ config: { ...L3, runtimeConfig: { ips: [text] } } }),
  'runtimeConfig.ipRanges': (subnet) => ({ config: { ...L3, runtimeConfig: { ipRanges: [[{ subnet }]] } } }),
  'a key of its own': (text) => ({ config: { ...L3, [text]: text } }),
}

describe.each(Object.entries(FIELDS))('hostile text in %s', (field, callWith) => {
  // One node for all texts, as long as each leaves it as it was; a bridge may stay.
  const pristine = stateOf(nodeWithNeighbour())
  let node = nodeWithNeighbour()

  it.each(HOSTILE_TEXT.map((text) => [JSON.stringify(text.slice(0, 20)), text]))(
    '%s goes nowhere',
    (_, text) => {
      if (stateOf(node) !== pristine) node = nodeWithNeighbour()
      const [before, begun] = [tracesOn(node), node.history().length]
      const { config = L3, ...rest } = callWith(text)
      const call = { config: { ...L3, ...(config as object) }, ...rest }
      for (const command of ['ADD', 'CHECK', 'STATUS', 'DEL', 'GC']) {
        const answer = node.call(command, {
          ...call,
          config: command === 'GC' ? gcConfig(call.config) : call.config,
        })
        if (answer.exitCode !== 0) expectPlainError(answer, PATHS.includes(field))
        if (command === 'ADD' && answer.exitCode !== 0) expect(tracesOn(node)).toEqual(before)
      }
      expect(tracesOn(node)).toEqual(before)
      expectOrdinarySteps(node.history().slice(begun), call.config.ipam)
    },
  )
})

/** A pod of another network; and whatever an attachment leaves behind on purpose is there already. */
function nodeWithNeighbour(): FakeNode {
  const node = createFakeNode()
  node.call('ADD', NEIGHBOUR)
  for (const config of [L3, L2]) {
    node.call('ADD', { config })
    node.call('DEL', { config })
  }
  return node
}

function stateOf(node: FakeNode): string {
  return JSON.stringify(node.snapshot())
}

/** All of the node but bridges, which stay. */
function tracesOn(node: FakeNode): object {
  const { host, ...rest } = node.snapshot()
  const links = host.links.filter(({ kind }) => kind !== 'bridge')
  const routes = host.routes.filter((route) => route.includes('veth'))
  return { ...rest, links, routes }
}

/** Only what is meant to be a path may get as far as the disk (5), and nothing as far as the kernel (999). */
function expectPlainError({ json, stdout }: FakeAnswer, isPath: boolean): void {
  const { code, msg, details = '' } = json
  expect(code).toBeTypeOf('number')
  expect(isPath ? [0, 999] : [0, 5, 999], stdout).not.toContain(code)
  expect(String(msg)).toMatch(/^\P{C}{1,400}$/u)
  expect(String(details)).toMatch(/^\P{C}{0,16000}$/u)
}

const FILE_STEP =
  /^(?:read|readForeign|readAt|create|replace|writeAt|remove|removeDirectory|ensureDirectory|list|lock|probe) (\/.*)$/s
const KERNEL_STEPS = [
  /^open network namespace /,
  /^(read|create|set|remove) (link|veth|bridge) /,
  /^(add|remove|list|set|find) (the )?(address|addresses|route|routes|default routes|neighbour|neighbours|links) ?/,
  /^read the boot id$/,
  /^list the packet filters$/,
  /^read sysctl bridge\/bridge-nf-call-ip6?tables$/,
  /^ask for the generation of the ruleset$/,
  /^(read sysctl|write [01] to sysctl) ipv[46]\/(ip_forward|conf\/(?!\.\.?\/)[^/]+\/[a-z0-9_]+)$/,
  /^(read|add|delete|flush|list) (element|table|map|chain|rule) (inet|bridge) bowline/,
]

/** Every file is in one of our own directories, everything in the kernel is a thing that we make. */
function expectOrdinarySteps(steps: readonly string[], ipam: object): void {
  const { dataDir = DEFAULT_PATHS.dataDir, resolvConf } = ipam as { dataDir?: string; resolvConf?: string }
  for (const step of steps) {
    const path = FILE_STEP.exec(step)?.[1]
    if (path === undefined) {
      const isKnown = KERNEL_STEPS.some((known) => known.test(step)) || step.includes(DELEGATE_PATH)
      expect(isKnown, step).toBe(true)
    } else if (path !== resolvConf) {
      const directories = [DEFAULT_PATHS.recordsDir, DEFAULT_PATHS.dataDir, dataDir]
      const isOurs = directories.some((directory) => path.startsWith(directory))
      expect(isOurs && !/(^|\/)\.\.?(\/|$)|\0/.test(path), step).toBe(true)
    }
  }
}
