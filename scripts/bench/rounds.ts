/** Something that is measured beside others, such as the reference plugin. */
export type Contender = {
  readonly name: string
  /** The contender that its ratios are to. */
  readonly base?: string
  /** One round: for each metric, such as `ADD`, one measurement. */
  measure(): Measured | Promise<Measured>
}

type Measured = Readonly<Record<string, number>>
export type Unit = 'ms' | 'MB' | 'per second' | 'Gbit/s'

/** Contenders that take turns. */
export type Experiment = {
  readonly title: string
  readonly unit: Unit
  readonly rounds: number
  /** Rounds that are run first and not counted: one fills caches, makes bridges and tables. */
  readonly warmUps: number
  /** Makes what is measured; `remove` takes it away. */
  readonly prepare: () => { readonly contenders: readonly Contender[]; readonly remove: () => void }
}

/** The measurements of one metric: of each contender one a round. */
export type Series = {
  readonly what: string
  readonly unit: Unit
  readonly contenders: readonly {
    readonly name: string
    readonly base?: string
    readonly values: readonly number[]
  }[]
}

/**
 * Runs the rounds. In each the contenders are measured one after another, and each round begins with the next of
 * them, so that nobody is always behind the same other.
 */
export async function runExperiment({
  title,
  unit,
  rounds,
  warmUps,
  prepare,
}: Experiment): Promise<Series[]> {
  const { contenders, remove } = prepare()
  const found = new Map<string, Map<Contender, number[]>>()
  try {
    for (let round = -warmUps; round < rounds; round++) {
      for (const contender of turns(contenders, round + warmUps)) {
        const measured = await contender.measure()
        if (round >= 0) note(found, contender, measured)
      }
    }
  } finally {
    remove()
  }
  return [...found].map(([metric, values]) => ({
    what: `${metric}, ${title}`,
    unit,
    contenders: contenders.map(({ name, base }, i) => ({
      name,
      ...(base !== undefined && { base }),
      values: values.get(contenders[i] as Contender) ?? [],
    })),
  }))
}

/** Who is measured in a round, in which order. */
export function turns<T>(contenders: readonly T[], round: number): T[] {
  const first = round % contenders.length
  return [...contenders.slice(first), ...contenders.slice(0, first)]
}

function note(found: Map<string, Map<Contender, number[]>>, contender: Contender, measured: Measured): void {
  for (const [metric, value] of Object.entries(measured)) {
    const byContender = found.get(metric) ?? new Map<Contender, number[]>()
    byContender.set(contender, [...(byContender.get(contender) ?? []), value])
    found.set(metric, byContender)
  }
}

/**
 * Returns the median of the ratios `of[i] / to[i]`, each of one round: what disturbs the machine for longer than a round
 * disturbs both sides of a ratio.
 */
export function pairedRatio(of: readonly number[], to: readonly number[]): number {
  return quantile(
    of.map((value, round) => value / (to[round] ?? Number.NaN)),
    0.5,
  )
}

/** Returns the value below which the share `share` of all lies, with the straight line between neighbours. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (sorted.length - 1) * share
  const [below, above] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]]
  if (below === undefined || above === undefined) throw new Error('no measurement: nothing was run')
  return below + (above - below) * (at - Math.floor(at))
}
