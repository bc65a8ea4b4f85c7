import { expect } from 'vitest'
import type { FakeAnswer, FakeCall, FakeNode } from '../fakes/node.ts'

/** A node and what happened to it, for messages. */
export type Subject = { readonly node: FakeNode; readonly where: string }

/** Calls the plugin, which must succeed. */
export function expectSuccess({ node, where }: Subject, command: string, call: FakeCall): FakeAnswer {
  const answer = node.call(command, call)
  expect(answer, `${where}; then ${command}`).toMatchObject({ exitCode: 0 })
  return answer
}

/** Nothing of any pod is left. */
export function expectNothing({ node, where }: Subject): void {
  expect(node.residue(), where).toEqual([])
}

/** The attachment that an ADD has answered for is all there: CHECK finds nothing to complain about. */
export function expectWhole(subject: Subject, added: FakeAnswer, call: FakeCall): void {
  expectSuccess(subject, 'CHECK', { ...call, config: { ...call.config, prevResult: added.json } })
}

/** The addresses of an ADD's answer, without prefix length. */
export function addressesOf({ json }: FakeAnswer): string[] {
  const ips = (json['ips'] ?? []) as { address: string }[]
  return ips.map(({ address }) => address.replace(/\/.*/, ''))
}

/** The addresses for which there is a lease of the container on the node. */
export function addressesHeldBy({ files }: FakeNode, containerId: string): string[] {
  const leases = Object.entries(files.dump()).filter(([, text]) => text.startsWith(`${containerId}\r\n`))
  return leases.flatMap(([path]) => /\/networks\/net\/([0-9a-f]*[.:][0-9a-f.:]+)$/.exec(path)?.[1] ?? [])
}
