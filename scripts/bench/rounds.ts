/** A plugin or network that is measured beside others. */
export type Contender = {
  readonly name: string
  /** The contender that its ratios are to. */
  readonly base?: string
  /** Makes one measurement of each metric, such as `ADD`. */
  measure(): Measured | Promise<Measured>
}

type Measured = Readonly<Record<string, number>>
export type Unit = 'ms' | 'MB' | 'per second' | 'Gbit/s'

/** Contenders that take turns. */
export type Experiment = {
  readonly title: string
  readonly unit: Unit
  readonly rounds: number
  /** Rounds that are run first and not counted: the first one fills caches and makes bridges and tables. */
  readonly warmUps: number
  /** Creates the contenders; `remove` removes them. */
  readonly prepare: () => { readonly contenders: readonly Contender[]; readonly remove: () => void }
}

/** The measurements of one metric, one for each contender and round. */
export type Series = {
  readonly what: string
  readonly unit: Unit
  readonly contenders: readonly (Omit<Contender, 'measure'> & { readonly values: readonly number[] })[]
}

/** Runs the rounds. Each begins with another contender, so that none is always behind the same other. */
export async function runExperiment(experiment: Experiment): Promise<Series[]> {
  const { title, unit, rounds, warmUps, prepare } = experiment
  const { contenders, remove } = prepare()
  const results = contenders.map((contender) => ({ contender, measured: [] as Measured[] }))
  try {
    for (let round = 0; round < warmUps + rounds; round++) {
      const first = round % results.length
      for (const { contender, measured } of [...results.slice(first), ...results.slice(0, first)]) {
        const one = await contender.measure()
        if (round >= warmUps) measured.push(one)
      }
    }
  } finally {
    remove()
  }
  const metrics = Object.keys(results[0]?.measured[0] ?? {})
  return metrics.map((metric) => ({
    what: `${metric}, ${title}`,
    unit,
    contenders: results.map(({ contender: { measure: _, ...names }, measured }) => ({
      ...names,
      values: measured.map((one) => one[metric] ?? Number.NaN),
    })),
  }))
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
