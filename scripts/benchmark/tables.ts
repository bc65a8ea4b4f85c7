import type { Finding } from './findings.ts'
import type { Goal } from './goals.ts'
import type { Machine } from './machine.ts'
import { REFERENCE } from './networks.ts'

/** What the machine is, and a warning if it is not quiet. */
export function machineTable(machine: Machine, isBusy: boolean): string {
  const lines = aligned(Object.entries(machine))
  return [lines, METHOD, ...(isBusy ? [BUSY] : [])].join('\n\n')
}

const METHOD = `A time is from the start of a process to its end; "processor" is what it and its children used of processors.
A ratio is the median of the ratios of each round, in which all are measured one after another; beside "processor"
stands that of processor time.`

const BUSY = `This machine is busy with other things: the times are not its own, and the ratios scatter. Wait until it is
quiet, or try: nice -n -20 npm run bench
`

/** Each goal with what was reached, those that were missed first. */
export function goalTable(findings: readonly Finding[]): string {
  const judged = findings.filter(({ isMet }) => isMet !== undefined)
  const rows = judged
    .toSorted((a, b) => Number(a.isMet) - Number(b.isMet))
    .map((finding) => [
      finding.isMet ? 'met' : 'NOT MET',
      finding.what,
      finding.contender,
      reachedText(finding),
      finding.goal ? goalText(finding.goal) : '',
    ])
  const met = judged.filter(({ isMet }) => isMet).length
  return `${aligned(rows)}\n\n${met} of ${judged.length} goals met`
}

function reachedText({ goal, summary, unit, ratio = Number.NaN, base }: Finding): string {
  return goal?.isAbsolute ? `${number(summary.median)} ${unit}` : `${ratio.toFixed(2)} to ${base}`
}

/** The findings as lines of text, a heading for each metric. */
export function tableOf(findings: readonly Finding[]): string {
  const rows = findings.map((finding, i) => {
    const isFirst = findings[i - 1]?.what !== finding.what
    return [isFirst ? finding.what : '', ...cellsOf(finding)]
  })
  return aligned([['', 'plugin', 'median', 'p10–p90', 'processor', '', 'ratio', 'goal', ''], ...rows])
}

function cellsOf({ contender, summary, unit, cpuMs, cpuRatio, ratio, base, goal, isMet }: Finding): string[] {
  return [
    contender,
    `${number(summary.median)} ${unit}`,
    `${number(summary.p10)}–${number(summary.p90)}`,
    cpuMs === undefined ? '' : `${number(cpuMs)} ms`,
    cpuRatio === undefined ? '' : cpuRatio.toFixed(2),
    ratio === undefined ? '' : `${ratio.toFixed(2)}${base === REFERENCE ? '' : ` to ${base}`}`,
    goal ? goalText(goal) : '',
    isMet === undefined ? '' : isMet ? 'met' : 'NOT MET',
  ]
}

export function goalText({ sign, limit }: Goal): string {
  return `${sign} ${limit}`
}

/** Three digits that count, or all before the point: 5.37, 24.1, 133, 29,700. */
export function number(value: number): string {
  if (value >= 1000) return Math.round(value).toLocaleString('en')
  return value.toFixed(Math.max(0, Math.min(2, 2 - Math.floor(Math.log10(Math.max(value, 1e-9))))))
}

/** Columns of equal width, two blanks between them. */
export function aligned(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => [...(row[column] ?? '')].length)),
  )
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
