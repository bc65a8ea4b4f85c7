import { parseName, type Run } from './names.ts'

type Tally = { passed: number; failed: number; elsewhere: boolean }
type Line = { readonly id: string; readonly title: string; fails?: string; reference: Tally; bowline: Tally }

/** One test of a conformance case, by its name; `elsewhere` when it can't be run on this machine. */
export type NamedOutcome = { readonly name: string; readonly state: 'passed' | 'failed' | 'elsewhere' }

const TITLE_WIDTH = 96

/**
 * Returns a table of the cases that failed, or of all, and below it the counts of all. "fails: …" in the column of the
 * reference means that it failed as the case declares. Throws when two cases have one id.
 */
export function formatTable(outcomes: readonly NamedOutcome[], { all = false } = {}): string {
  const lines = [...tally(outcomes).values()].toSorted(byId)
  const shown = all ? lines : lines.filter(({ reference, bowline }) => reference.failed + bowline.failed > 0)
  const heading = ['case ', 'what is right'.padEnd(TITLE_WIDTH), 'bowline'.padEnd(11), 'reference']
  const rows = shown.map((line) => [
    line.id.padEnd(5),
    shorten(line.title).padEnd(TITLE_WIDTH),
    verdict(line.bowline, 'passes').padEnd(11),
    verdict(line.reference, line.fails ? `fails: ${line.fails}` : 'passes'),
  ])
  return [
    ...(rows.length > 0 ? [...[heading, ...rows].map((cells) => cells.join(' | ')), ''] : []),
    `conformance: ${lines.length} cases`,
    `  bowline:   ${count(lines.map((line) => ({ tally: line.bowline, fails: false })))}`,
    `  reference: ${count(lines.map((line) => ({ tally: line.reference, fails: line.fails !== undefined })))}`,
  ].join('\n')
}

function tally(outcomes: readonly NamedOutcome[]): Map<string, Line> {
  const lines = new Map<string, Line>()
  for (const { name, state } of outcomes) {
    const run = parseName(name)
    if (!run) continue
    const line = lineOf(lines, run)
    if (run.fails) line.fails = run.fails
    if (state === 'elsewhere') line[run.subject].elsewhere = true
    else line[run.subject][state]++
  }
  return lines
}

function lineOf(lines: Map<string, Line>, { id, title }: Run): Line {
  const line = lines.get(id) ?? { id, title, reference: none(), bowline: none() }
  if (line.title !== title) throw new Error(`two conformance cases are called ${id}`)
  lines.set(id, line)
  return line
}

function none(): Tally {
  return { passed: 0, failed: 0, elsewhere: false }
}

/** A count of runs where a case is run for several versions. */
function verdict({ passed, failed, elsewhere }: Tally, word: string): string {
  if (elsewhere) return 'in the VM'
  if (failed > 0) return `NOT SO (${failed} of ${passed + failed})`
  if (passed === 0) return 'not run'
  return passed === 1 ? word : word.replace(/^\w+/, (verb) => `${verb} ×${passed}`)
}

function count(all: readonly { tally: Tally; fails: boolean }[]): string {
  const run = all.filter(({ tally: { passed, failed, elsewhere } }) => !elsewhere && passed + failed > 0)
  const good = run.filter(({ tally: { failed } }) => failed === 0)
  const fails = good.filter((one) => one.fails).length
  const runs = run.reduce((sum, { tally: { passed, failed } }) => sum + passed + failed, 0)
  const elsewhere = all.filter(({ tally }) => tally.elsewhere).length
  const words = [
    `passes ${good.length - fails}`,
    `fails as declared ${fails}`,
    `not so ${run.length - good.length}`,
    `in the VM ${elsewhere}`,
    ...(all.length > run.length + elsewhere ? [`not run ${all.length - run.length - elsewhere}`] : []),
  ]
  return `${words.join(', ')} (${runs} runs)`
}

function shorten(text: string): string {
  return text.length > TITLE_WIDTH ? `${text.slice(0, TITLE_WIDTH - 1)}…` : text
}

/** 2 before 12 before 12b before G1. */
function byId(a: Line, b: Line): number {
  return a.id.localeCompare(b.id, 'en', { numeric: true })
}
