import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { CACHE } from '../node/plugin.ts'
import { parseName } from './names.ts'

/*
 * What the reference plugins did in each conformance case. They do not change, so a case is run on them once for each of
 * their versions, and again when its file or the node that it runs on is changed. `BOWLINE_REFERENCE=record` runs them
 * and writes the record. Without it a case whose outcome is missing or older than its file is run on them and then
 * fails, however it went: nothing passes by an outcome that nobody has seen.
 */

const RECORD = resolve(import.meta.dirname, '../../conformance/reference.json')
/** What a case does is written in its own file and in these. */
const SHARED = ['cases.ts', 'node.ts'].map((name) => join(import.meta.dirname, name))

export const RECORDS = process.env['BOWLINE_REFERENCE'] === 'record'

/** Outcomes of one file's cases, by `keyOf`: `passes`, or `fails: ` and the reason that the case declares. */
type FileRecord = { readonly key: string; readonly outcomes: Readonly<Record<string, string>> }

const current = new Map<string, FileRecord['outcomes']>()

/** Returns what the reference did in the test of this name; undefined when that has to be seen again. */
export function recordedOutcome(file: string, test: string): string | undefined {
  if (RECORDS || parseName(test)?.subject !== 'reference') return undefined
  if (!current.has(file)) current.set(file, currentOutcomes(file))
  return current.get(file)?.[keyOf(test)]
}

function currentOutcomes(file: string): FileRecord['outcomes'] {
  const found = readRecord()[basename(file)]
  return found && found.key === keyOfFile(file) ? found.outcomes : {}
}

/** Writes the outcomes of tests by their names. Others of the file stay if they are of the same key. */
export function recordOutcomes(file: string, outcomes: ReadonlyMap<string, string>): void {
  const record = readRecord()
  const key = keyOfFile(file)
  const before = record[basename(file)]
  const added = [...outcomes].map(([test, outcome]): [string, string] => [keyOf(test), outcome])
  const all = { ...(before?.key === key && before.outcomes), ...Object.fromEntries(added) }
  const written = { ...record, [basename(file)]: { key, outcomes: sorted(all) } }
  writeFileSync(RECORD, `${JSON.stringify(sorted(written), null, 2)}\n`)
}

/** The message for a case whose outcome is not on record. */
export function staleMessage(file: string): string {
  const command = `BOWLINE_REFERENCE=record scripts/test test/conformance/${basename(file)}`
  return `the stored outcome of the reference is stale: run ${command}`
}

function readRecord(): Record<string, FileRecord> {
  return existsSync(RECORD) ? JSON.parse(readFileSync(RECORD, 'utf8')) : {}
}

/** The version of the reference plugins, and a hash of what the cases of a file do. */
function keyOfFile(file: string): string {
  const version = readFileSync(join(CACHE, 'log/reference-plugins.version'), 'utf8').trim()
  const hash = createHash('sha256')
  for (const path of [file, ...SHARED]) hash.update(readFileSync(path))
  return `${version} ${hash.digest('hex').slice(0, 16)}`
}

/** `12b`, or `12 1.0.0` of a case that is run for several versions. */
function keyOf(test: string): string {
  const version = /\(reference, CNI ([\d.]+)\)/.exec(test)?.[1]
  return [parseName(test)?.id, version].filter(Boolean).join(' ')
}

function sorted<T>(record: Readonly<Record<string, T>>): Record<string, T> {
  const order = new Intl.Collator('en', { numeric: true })
  return Object.fromEntries(Object.entries(record).sort(([a], [b]) => order.compare(a, b)))
}
