/** What a list of measurements comes to. */
export type Summary = {
  readonly count: number
  readonly median: number
  /** A tenth of the measurements is below p10, a tenth above p90. */
  readonly p10: number
  readonly p90: number
}

/** Of at least one measurement, in any order. */
export function summarize(values: readonly number[]): Summary {
  return {
    count: values.length,
    median: quantile(values, 0.5),
    p10: quantile(values, 0.1),
    p90: quantile(values, 0.9),
  }
}

/**
 * The median of the ratios `of[i] / to[i]`, each of one round: what disturbs the machine for longer than a round
 * disturbs both sides of a ratio. Rounds that one side sat out are passed over. Undefined when no round has both.
 */
export function pairedRatio(
  of: readonly (number | undefined)[],
  to: readonly (number | undefined)[],
): number | undefined {
  const ratios = of.flatMap((value, round) => {
    const base = to[round]
    return value === undefined || base === undefined ? [] : [value / base]
  })
  return ratios.length === 0 ? undefined : quantile(ratios, 0.5)
}

/** The value below which the share `share` of all lies, with the straight line between neighbours. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (sorted.length - 1) * share
  const [below, above] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]]
  if (below === undefined || above === undefined) throw new Error('no measurement: nothing was run')
  return below + (above - below) * (at - Math.floor(at))
}
