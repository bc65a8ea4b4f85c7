import { afterAll, describe, it } from 'vitest'
import { SUITE } from './names.ts'
import { RECORDS, recordedOutcome, recordOutcomes, staleMessage } from './record.ts'

/*
 * A conformance case says what a plugin must do that is to replace the reference plugins, in terms of what a runtime
 * and an operator can see. It is run on the reference plugins too, so that the case itself is known to be fair: there
 * it must pass, or fail in the one manner that it declares. A declaration that is not true fails the test.
 */

/** Every version of the CNI specification. */
export const VERSIONS = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const

export type Version = (typeof VERSIONS)[number]

const NEWEST: Version = '1.1.0'

/** The versions from this one on. */
export function versionsFrom(first: Version): readonly Version[] {
  return VERSIONS.slice(VERSIONS.indexOf(first))
}

/** The versions before this one. */
export function versionsBefore(first: Version): readonly Version[] {
  return VERSIONS.slice(0, VERSIONS.indexOf(first))
}

/** A set of plugins that does the whole work: bridged and routed networks, and addresses. */
export type Subject = {
  readonly name: 'reference' | 'bowline'
  /** What makes a configuration one of a bridged network. */
  readonly bridged: { readonly type: string }
  /** What makes a configuration one of a network without a bridge. */
  readonly routed: { readonly type: string; readonly mode?: 'l3' }
  /** The IPAM plugin that keeps leases on this node. */
  readonly ipam: string
}

const REFERENCE: Subject = {
  name: 'reference',
  bridged: { type: 'bridge' },
  routed: { type: 'ptp' },
  ipam: 'host-local',
}

const BOWLINE: Subject = {
  name: 'bowline',
  bridged: { type: 'bowline' },
  routed: { type: 'bowline', mode: 'l3' },
  ipam: 'bowline-ipam',
}

/** How the reference fares: it passes, or it fails because of a fact, and `at` is in the message of the failure. */
export type Expectation = 'passes' | { readonly fails: string; readonly at: RegExp }

export type Case = {
  /** Of the list of cases that the reference plugins' own tests make (12, 12b), or of their gaps (G1). */
  readonly id: string
  /** What is right, as a sentence. */
  readonly title: string
  /** For which versions of the specification it is run. Default: the newest. */
  readonly versions?: readonly Version[]
  readonly expectReference: Expectation
  /** Throws unless the subject does what is right. */
  run(subject: Subject, version: Version): Promise<void> | void
}

/**
 * Defines one test for each case, subject and version. Their names are what the table is made of: `parseName`. The
 * reference is run only when its outcome is not on record.
 */
export function conform(...cases: readonly Case[]): void {
  const seen = new Map<string, string>()
  let file = ''
  define(cases, async (one, subject, version, task) => {
    file = task.file.filepath
    if (subject.name === 'bowline') return one.run(subject, version)
    const declared = outcomeOf(one)
    if (recordedOutcome(file, task.name) === declared) return
    await runCase(one, subject, version)
    if (!RECORDS) throw new Error(staleMessage(file))
    seen.set(task.name, declared)
  })
  if (RECORDS) afterAll(() => recordOutcomes(file, seen))
}

/** As `conform`, but runs the reference each time: in the virtual machine, from which no record comes back. */
export function conformUnrecorded(...cases: readonly Case[]): void {
  define(cases, runCase)
}

type Task = { readonly name: string; readonly file: { readonly filepath: string } }

function define(
  cases: readonly Case[],
  check: (one: Case, subject: Subject, version: Version, task: Task) => Promise<void> | void,
): void {
  describe(SUITE, () => {
    for (const one of cases) {
      for (const subject of [REFERENCE, BOWLINE]) {
        for (const version of one.versions ?? [NEWEST]) {
          it(nameOf(one, subject, version), ({ task }) => check(one, subject, version, task))
        }
      }
    }
  })
}

/** The names of the tests that `conform` would define: for cases that the kernel of this machine can't run. */
export function namesOf(cases: readonly Case[]): string[] {
  return cases.flatMap((one) => [REFERENCE, BOWLINE].map((subject) => nameOf(one, subject, NEWEST)))
}

function nameOf({ id, title, expectReference, versions }: Case, { name }: Subject, version: Version): string {
  const declared =
    name === 'reference' && expectReference !== 'passes' ? ` fails: ${expectReference.fails}` : ''
  return `${id}: ${title} (${name}${versions ? `, CNI ${version}` : ''})${declared}`
}

function outcomeOf({ expectReference: expected }: Case): string {
  return expected === 'passes' ? expected : `fails: ${expected.fails}`
}

async function runCase(one: Case, subject: Subject, version: Version): Promise<void> {
  const { expectReference: expected } = one
  if (subject.name === 'bowline' || expected === 'passes') await one.run(subject, version)
  else await assertFails(() => one.run(subject, version), expected)
}

async function assertFails(run: () => unknown, { fails, at }: Exclude<Expectation, string>): Promise<void> {
  try {
    await run()
  } catch (error) {
    if (error instanceof Error && at.test(error.message)) return
    throw new Error(`the reference was to fail (${fails}), and failed otherwise`, { cause: error })
  }
  throw new Error(`the reference was to fail (${fails}), and passed`)
}
