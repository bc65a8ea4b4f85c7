import { afterEach, beforeAll, beforeEach, expect } from 'vitest'
import { type PluginAnswer, type PluginCall, runPlugin } from './plugin.ts'
import { run } from './private_namespaces.ts'
import {
  clearNode,
  createNetns,
  enterSandbox,
  type Netns,
  type Residue,
  removeNetns,
  residue,
} from './sandbox.ts'

/** Gives each test of a file a clean node with an empty network namespace of each name. */
export function usePods<const N extends readonly string[]>(
  ...names: N
): { readonly [K in keyof N]: Netns } & readonly Netns[] {
  beforeAll(enterSandbox)
  beforeEach(async () => {
    await clearNode()
    for (const name of names) createNetns(name)
  })
  afterEach(() => {
    for (const name of names) removeNetns(name)
  })
  const pods: readonly Netns[] = names.map((name) => ({ name, path: `/run/netns/${name}` }))
  return pods as { readonly [K in keyof N]: Netns } & readonly Netns[]
}

/** Calls the plugin for `eth0` of a pod; the id of its container is the pod's name. */
export function callFor(
  pod: Netns,
  command: PluginCall['command'],
  config: unknown,
  more: Partial<PluginCall> = {},
): Promise<PluginAnswer> {
  return runPlugin({ command, config, containerId: pod.name, netns: pod.path, ...more })
}

export function expectSuccess({ exitCode, stdout, stderr }: PluginAnswer): void {
  expect(exitCode, stdout.slice(0, 500) + stderr.slice(0, 500)).toBe(0)
}

/** What is left on the node, without the bridge that stays. */
export async function leftOver(): Promise<Residue> {
  const left = await residue()
  return { ...left, links: left.links.filter((name) => name !== 'br0') }
}

/** The links in a pod, without `lo`. */
export function linksIn({ name }: Netns): string[] {
  return run(`ip -n ${name} -o link show | sed 's/^[0-9]*: //; s/[:@].*//; /^lo$/d'`)
    .split('\n')
    .filter(Boolean)
}
