import { burstExperiment } from './burst.ts'
import { callExperiments } from './calls.ts'
import { footprintExperiment } from './footprint.ts'
import { leaseExperiments } from './leases.ts'
import type { Options, Part } from './options.ts'
import type { Experiment } from './rounds.ts'
import type { Subject } from './subjects.ts'
import { trafficExperiments } from './traffic.ts'

/** What is measured. */
export function plan(all: readonly Subject[], { parts, quick, rounds }: Options): Experiment[] {
  const roundsOf = (full: number, few: number) => rounds ?? (quick ? few : full)
  const plans: Readonly<Record<Part, () => Experiment[]>> = {
    calls: () => callExperiments(all, roundsOf(50, 4)),
    burst: () => [burstExperiment(all, roundsOf(5, 1))],
    leases: () => leaseExperiments(all, roundsOf(40, 5), quick ? [3000] : [3000, 60_000]),
    footprint: () => [footprintExperiment(all, roundsOf(5, 2))],
    traffic: () => trafficExperiments(all, roundsOf(15, 2), quick ? 0.2 : 0.5),
  }
  return parts.flatMap((part) => plans[part]())
}
