import type { Bench } from './nodes.ts'
import type { Metric, Values } from './results.ts'

/** A row of the benchmark. */
export type Measurement = {
  readonly title: string
  readonly metrics: Readonly<Record<string, Metric>>
  /** In a full run, and in a quick one. */
  readonly rounds: readonly [full: number, quick: number]
  /** Rounds that are not counted: the first one fills caches and makes bridges and tables. */
  readonly warmUps: number
  /** Attaches what it needs to the nodes of one plugin. Returns the function that measures each metric once. */
  readonly prepare: (bench: Bench) => () => Values | Promise<Values>
}
