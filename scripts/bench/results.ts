export type Metric = {
  readonly unit: 'ms' | '×' | 'MB' | 'per second' | 'Gbit/s'
  /** Our goal: an upper limit of the ratio to the reference, of both modes or of each. */
  readonly ratio?: number | readonly [l3: number, l2: number]
  /** The same for the value itself. */
  readonly max?: number
}

/** What was measured in a round, by the name of the metric. */
export type Values = Readonly<Record<string, number>>

/** A plugin that is measured beside others. */
export type Contender = { readonly name: string; readonly measure: () => Values | Promise<Values> }

/** The result of a plugin in one metric: a line of a table, a bar of the drawing. */
export type Finding = {
  /** `ADD, plain`. */
  readonly what: string
  readonly name: string
  readonly unit: Metric['unit']
  readonly median: number
  /** The 10th and the 90th percentile. */
  readonly spread: readonly [number, number]
  /** The median of the ratios of each round to the first contender, the reference. Undefined for the reference. */
  readonly ratio?: number
  /** The goal as a text, and whether it is met. */
  readonly goal?: { readonly text: string; readonly isMet: boolean }
}

/** Runs the rounds. Each begins with another contender, so that none is always behind the same other. */
export async function measureRounds(
  contenders: readonly Contender[],
  rounds: number,
  warmUps: number,
): Promise<Map<string, Values[]>> {
  const measured = new Map(contenders.map(({ name }) => [name, [] as Values[]]))
  for (let round = 0; round < warmUps + rounds; round++) {
    const first = round % contenders.length
    for (const { name, measure } of [...contenders.slice(first), ...contenders.slice(0, first)]) {
      const values = await measure()
      if (round >= warmUps) measured.get(name)?.push(values)
    }
  }
  return measured
}

/** Returns the findings of a measurement, by metric; the reference first, which is the first that was measured. */
export function findingsOf(
  title: string,
  metrics: Readonly<Record<string, Metric>>,
  measured: ReadonlyMap<string, readonly Values[]>,
): Finding[] {
  return Object.entries(metrics).flatMap(([key, metric]) => {
    const columns = [...measured].map(
      ([name, rounds]) => [name, rounds.map((one) => one[key] ?? Number.NaN)] as const,
    )
    const base = columns[0]?.[1] ?? []
    return columns.map(([name, values], i): Finding => {
      const median = quantile(values, 0.5)
      const ratio = i === 0 ? undefined : pairedRatio(values, base)
      const goal = goalOf(metric, name, median, ratio)
      return {
        what: `${key}, ${title}`,
        name,
        unit: metric.unit,
        median,
        spread: [quantile(values, 0.1), quantile(values, 0.9)],
        ...(ratio !== undefined && { ratio }),
        ...(goal && { goal }),
      }
    })
  })
}

function goalOf(
  { ratio: limits, max, unit }: Metric,
  name: string,
  median: number,
  ratio = Number.NaN,
): Finding['goal'] {
  if (name !== 'l3' && name !== 'l2') return undefined
  if (max !== undefined) return { text: `≤ ${max} ${unit}`, isMet: median <= max }
  const limit = typeof limits === 'object' ? limits[name === 'l3' ? 0 : 1] : limits
  return limit === undefined ? undefined : { text: `≤ ${limit}`, isMet: ratio <= limit }
}

/**
 * Returns the median of the ratios `of[i] / to[i]`, each of one round: a disturbance that lasts longer than a round affects
 * both sides of a ratio.
 */
export function pairedRatio(of: readonly number[], to: readonly number[]): number {
  const ratios = of.map((value, round) => value / (to[round] ?? Number.NaN))
  return quantile(ratios, 0.5)
}

/** Returns the value below which the share `share` of all lies, interpolated linearly. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (sorted.length - 1) * share
  const [below, above] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]]
  if (below === undefined || above === undefined) throw new Error('no measurement: nothing was run')
  return below + (above - below) * (at - Math.floor(at))
}

/** Formats the findings as a table with a heading for each metric. */
export function tableOf(findings: readonly Finding[]): string {
  const rows = findings.map(({ what, name, unit, median, spread, ratio, goal }, i) => [
    findings[i - 1]?.what === what ? '' : what,
    name,
    `${number(median)} ${unit}`,
    spread.map(number).join('–'),
    ratio?.toFixed(2) ?? '',
    goal ? `${goal.text} ${goal.isMet ? 'met' : 'NOT MET'}` : '',
  ])
  const all = [['', 'plugin', 'median', 'p10–p90', 'ratio', 'goal'], ...rows]
  const widths = (all[0] ?? []).map((_, i) => Math.max(...all.map((row) => row[i]?.length ?? 0)))
  return all
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** Returns the results that missed their goals, and the number of goals that were met. */
export function verdictOf(findings: readonly Finding[]): string {
  const judged = findings.filter(({ goal }) => goal)
  const missed = judged.filter(({ goal }) => !goal?.isMet)
  const lines = missed.map(({ what, name, goal, median, ratio = 0, unit }) => {
    return `NOT MET: ${what}, ${name}: ${ratio.toFixed(2)}, ${number(median)} ${unit}, and the goal is ${goal?.text}`
  })
  return [...lines, `${judged.length - missed.length} of ${judged.length} goals met`].join('\n')
}

/** Formats three significant digits, or all before the point: 5.37, 24.1, 133, 29,700. */
export function number(value: number): string {
  if (value >= 1000) return Math.round(value).toLocaleString('en')
  return value.toFixed(Math.max(0, Math.min(2, 2 - Math.floor(Math.log10(Math.max(value, 1e-9))))))
}
