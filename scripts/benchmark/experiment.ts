/** One measurement. */
export type Sample = { readonly value: number; readonly cpuMs?: number }

/** Something that is measured beside others, such as the reference plugin. */
export type Contender = {
  readonly name: string
  /** The contender that its ratios are to. */
  readonly base?: string
  /** Takes part in every nth round only; every round unless told otherwise. For what is too slow. */
  readonly every?: number
  /** One round: for each metric, such as `ADD`, one measurement. */
  readonly measure: () => Readonly<Record<string, Sample>>
}

/** Contenders that take turns. */
export type Experiment = {
  readonly title: string
  readonly unit: Unit
  readonly rounds: number
  /** About, for the time that is left at the start. */
  readonly secondsPerRound: number
  /** Rounds that are run first and not counted: one fills caches, makes bridges and tables. */
  readonly warmUps: number
  /** Makes what is measured; the contenders are ready then. `remove` takes it away. */
  readonly prepare: () => { readonly contenders: readonly Contender[]; readonly remove: () => void }
}

export type Unit = 'ms' | 'per second' | 'Gbit/s' | 'MB'

/** The measurements of one metric: of each contender one a round, undefined where it sat out. */
export type Series = {
  readonly experiment: string
  readonly metric: string
  readonly unit: Unit
  readonly contenders: readonly ContenderSamples[]
}

export type ContenderSamples = {
  readonly name: string
  readonly base?: string
  readonly samples: readonly (Sample | undefined)[]
}

/** Told before each round; warm-ups have numbers below 0. */
export type OnRound = (round: number) => void

/**
 * Runs the rounds. In each the contenders are measured one after another, and each round begins with the next of
 * them, so that nobody is always behind the same other.
 */
export function runExperiment(experiment: Experiment, onRound: OnRound): Series[] {
  const { contenders, remove } = experiment.prepare()
  const found = new Map<string, Map<string, (Sample | undefined)[]>>()
  try {
    for (let round = -experiment.warmUps; round < experiment.rounds; round++) {
      onRound(round)
      for (const contender of turns(contenders, round)) {
        const measured = contender.measure()
        if (round >= 0) note(found, contender.name, round, measured)
      }
    }
  } finally {
    remove()
  }
  return [...found].map(([metric, byContender]) => ({
    experiment: experiment.title,
    metric,
    unit: experiment.unit,
    contenders: contenders.flatMap(({ name, base }) => {
      const samples = byContender.get(name)
      return samples ? [{ name, ...(base && { base }), samples }] : []
    }),
  }))
}

/** Who is measured in a round, in which order. */
export function turns(contenders: readonly Contender[], round: number): Contender[] {
  const present = contenders.filter(({ every = 1 }) => round < 0 || round % every === 0)
  const first = Math.abs(round) % present.length
  return [...present.slice(first), ...present.slice(0, first)]
}

function note(
  found: Map<string, Map<string, (Sample | undefined)[]>>,
  contender: string,
  round: number,
  measured: Readonly<Record<string, Sample>>,
): void {
  for (const [metric, sample] of Object.entries(measured)) {
    const byContender = found.get(metric) ?? new Map<string, (Sample | undefined)[]>()
    const samples = byContender.get(contender) ?? []
    while (samples.length < round) samples.push(undefined)
    samples.push(sample)
    found.set(metric, byContender.set(contender, samples))
  }
}
