import { type Goal, goalOf } from './goals.ts'
import { pairedRatio, quantile, type Series, type Unit } from './rounds.ts'

/** The result of one contender in one metric: a line of a table, a bar of the drawing. */
export type Finding = {
  /** `ADD, plain`. */
  readonly what: string
  readonly contender: string
  readonly unit: Unit
  readonly median: number
  /** The 10th and the 90th percentile. */
  readonly spread: readonly [number, number]
  /** The base of `ratio`, which is the median of the ratios of each round. Both are absent for the base itself. */
  readonly base?: string
  readonly ratio?: number
  readonly goal?: Goal
  readonly isMet?: boolean
}

/** Returns the findings of a series, the base first. */
export function findingsOf({ what, unit, contenders }: Series): Finding[] {
  const findings = contenders.map(({ name, base, values }): Finding => {
    const baseValues = contenders.find((one) => one.name === base)?.values
    const median = quantile(values, 0.5)
    const ratio = baseValues && pairedRatio(values, baseValues)
    const goal = goalOf(what, name)
    return {
      what,
      contender: name,
      unit,
      median,
      spread: [quantile(values, 0.1), quantile(values, 0.9)],
      ...(base !== undefined && ratio !== undefined && { base, ratio }),
      ...(goal && { goal, isMet: (goal.isAbsolute ? median : (ratio ?? Number.NaN)) <= goal.limit }),
    }
  })
  return findings.toSorted((a, b) => Number(a.base !== undefined) - Number(b.base !== undefined))
}

/** Formats the findings as a table with a heading for each metric. */
export function tableOf(findings: readonly Finding[]): string {
  const rows = findings.map((finding, i) => {
    const { what, contender, unit, median, spread, ratio, goal, isMet } = finding
    return [
      findings[i - 1]?.what === what ? '' : what,
      contender,
      `${number(median)} ${unit}`,
      spread.map(number).join('–'),
      ratio?.toFixed(2) ?? '',
      goal ? `≤ ${goal.limit} ${goal.isAbsolute ? unit : ''}`.trim() : '',
      isMet === undefined ? '' : isMet ? 'met' : 'NOT MET',
    ]
  })
  return aligned([['', 'plugin', 'median', 'p10–p90', 'ratio', 'goal', ''], ...rows])
}

/** Returns the number of goals that were met, and the results that missed theirs. */
export function verdictOf(findings: readonly Finding[]): string {
  const judged = findings.filter(({ isMet }) => isMet !== undefined)
  const missed = judged.filter(({ isMet }) => !isMet)
  const lines = missed.map(({ what, contender, goal, median, ratio = 0, unit }) => {
    const reached = goal?.isAbsolute ? `${number(median)} ${unit}` : ratio.toFixed(2)
    return `NOT MET: ${what}, ${contender}: ${reached}, and the goal is ${goal?.limit}`
  })
  return [...lines, `${judged.length - missed.length} of ${judged.length} goals met`].join('\n')
}

/** Formats three significant digits, or all before the point: 5.37, 24.1, 133, 29,700. */
export function number(value: number): string {
  if (value >= 1000) return Math.round(value).toLocaleString('en')
  return value.toFixed(Math.max(0, Math.min(2, 2 - Math.floor(Math.log10(Math.max(value, 1e-9))))))
}

/** Pads cells to columns, two blanks apart. */
export function aligned(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => [...(row[i] ?? '')].length)))
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
