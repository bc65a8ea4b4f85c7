import { burstExperiment } from './burst.ts'
import { callExperiments } from './calls.ts'
import { crowdExperiment, leaseExperiment } from './crowds.ts'
import type { Experiment } from './experiment.ts'
import { memoryExperiment } from './memory.ts'
import type { Subject } from './networks.ts'
import type { Options, Part } from './options.ts'
import { trafficExperiments } from './traffic.ts'

/** What is measured, part by part. `work` is a directory for programs that are made for it. */
export function plan(
  all: readonly Subject[],
  options: Options,
  work: string,
): { readonly part: Part; readonly experiments: readonly Experiment[] }[] {
  return options.parts.map((part) => ({ part, experiments: PLANS[part](all, options, work) }))
}

const PLANS: Readonly<
  Record<Part, (all: readonly Subject[], options: Options, work: string) => Experiment[]>
> = {
  calls: (all, options, work) => callExperiments(all, roundsFor(options, 50, 4), work),
  scale: (all, options) => [
    burstExperiment(all, roundsFor(options, 5, 1)),
    leaseExperiment(all, {
      rounds: roundsFor(options, 40, 5),
      counts: options.quick ? [3000] : [3000, 60_000],
      referenceEvery: 4,
    }),
    crowdExperiment(all, roundsFor(options, 40, 5)),
  ],
  memory: (all, options, work) => [memoryExperiment(all, roundsFor(options, 5, 2), work)],
  traffic: (all, options) =>
    trafficExperiments(all, {
      rounds: roundsFor(options, 15, 2),
      seconds: options.quick ? 0.2 : 0.5,
      isPinned: !options.unpinned,
    }),
}

function roundsFor({ rounds, quick }: Options, full: number, few: number): number {
  return rounds ?? (quick ? few : full)
}
