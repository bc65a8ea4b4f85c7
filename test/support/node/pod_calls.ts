import { expect } from 'vitest'
import type { PluginAnswer } from './plugin.ts'
import { run } from './private_namespaces.ts'
import { type Netns, type Residue, residue } from './sandbox.ts'

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
