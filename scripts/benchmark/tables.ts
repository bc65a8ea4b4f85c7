import type { Finding } from './findings.ts'
import type { Goal } from './goals.ts'

/** The findings as lines of text, a heading for each metric. */
export function tableOf(findings: readonly Finding[]): string {
  const rows = findings.map((finding, i) => {
    const isFirst = findings[i - 1]?.what !== finding.what
    return [isFirst ? finding.what : '', ...cellsOf(finding)]
  })
  return aligned([['', 'plugin', 'median', 'p10–p90', 'processor', 'ratio', 'goal', ''], ...rows])
}

function cellsOf({ contender, summary, unit, cpuMs, ratio, base, goal, isMet }: Finding): string[] {
  return [
    contender,
    `${number(summary.median)} ${unit}`,
    `${number(summary.p10)}–${number(summary.p90)}`,
    cpuMs === undefined ? '' : `${number(cpuMs)} ms`,
    ratio === undefined ? '' : `${ratio.toFixed(2)}${base === 'reference' ? '' : ` to ${base}`}`,
    goal ? goalText(goal) : '',
    isMet === undefined ? '' : isMet ? 'met' : 'NOT MET',
  ]
}

export function goalText({ sign, limit }: Goal): string {
  return `${sign} ${limit}`
}

/** Three digits that count: 5.37, 24.1, 133, 29700. */
export function number(value: number): string {
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
