import type { Sample, Series, Unit } from './experiment.ts'
import { type Goal, goalOf, isMet } from './goals.ts'
import { pairedRatio, type Summary, summarize } from './statistics.ts'

/** What was found of one contender in one metric: the line of a table, a bar of the drawing. */
export type Finding = {
  /** `ADD, plain`. */
  readonly what: string
  readonly contender: string
  readonly unit: Unit
  readonly summary: Summary
  /** The median, where it is known. */
  readonly cpuMs?: number
  /** The same as `ratio`, of time on a processor: it hardly depends on what else a machine does. */
  readonly cpuRatio?: number
  /** What `ratio` is to; absent for the base itself. */
  readonly base?: string
  /** The median of the ratios of each round. */
  readonly ratio?: number
  readonly goal?: Goal
  readonly isMet?: boolean
}

/** The findings of a series: each base, and behind it what is compared with it. */
export function findingsOf(series: Series): Finding[] {
  const lines = series.contenders.map(({ name }) => findingOf(series, name))
  const bases = lines.filter(({ base }) => base === undefined)
  return bases.flatMap((line) => [line, ...lines.filter(({ base }) => base === line.contender)])
}

function findingOf({ experiment, metric, unit, contenders }: Series, name: string): Finding {
  const contender = contenders.find((one) => one.name === name)
  const values = valuesOf(contender?.samples)
  const base = contenders.find((one) => one.name === contender?.base)
  const ratio = base && pairedRatio(values, valuesOf(base.samples))
  const summary = summarize(known(values))
  const cpu = cpuOf(contender?.samples)
  const cpuRatio = base && pairedRatio(cpu, cpuOf(base.samples))
  const goal = goalOf(experiment, metric, name)
  const reached = goal?.isAbsolute ? summary.median : ratio
  return {
    what: `${metric}, ${experiment}`,
    contender: name,
    unit,
    summary,
    ...(known(cpu).length > 0 && { cpuMs: summarize(known(cpu)).median }),
    ...(cpuRatio !== undefined && { cpuRatio }),
    ...(base && { base: base.name }),
    ...(ratio !== undefined && { ratio }),
    ...(goal && { goal }),
    ...(goal && reached !== undefined && { isMet: isMet(goal, reached) }),
  }
}

function known(values: readonly (number | undefined)[]): number[] {
  return values.flatMap((value) => value ?? [])
}

function cpuOf(samples: readonly (Sample | undefined)[] = []): (number | undefined)[] {
  return samples.map((sample) => sample?.cpuMs)
}

function valuesOf(samples: readonly (Sample | undefined)[] = []): (number | undefined)[] {
  return samples.map((sample) => sample?.value)
}
