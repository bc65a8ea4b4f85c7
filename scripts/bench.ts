import { run as runShell } from '../test/support/private_namespaces.ts'
import { enterSandbox } from '../test/support/sandbox.ts'
import { callExperiments } from './benchmark/calls.ts'
import { type Experiment, runExperiment } from './benchmark/experiment.ts'
import { type Finding, findingsOf } from './benchmark/findings.ts'
import { type Subject, subjects } from './benchmark/networks.ts'
import { HELP, OptionError, type Options, type Part, parseOptions } from './benchmark/options.ts'
import { Progress } from './benchmark/progress.ts'
import { tableOf } from './benchmark/tables.ts'

/*
 * scripts/bench has put this process into a process namespace; here it gets a network and mounts of its own, so the
 * machine's network and /var/lib/cni are not even seen.
 */
function main(): void {
  const options = parseOptions(process.argv.slice(2), process.env['BOWLINE_BENCH_CWD'] ?? process.cwd())
  if (options.help) {
    console.log(HELP)
    return
  }
  const all = subjects(options.plugins)
  enterSandbox()
  runShell('mount -t tmpfs tmpfs /run; mkdir -p /run/netns /run/lock')
  const parts = options.parts.map((part) => ({ part, experiments: PLANS[part](all, options) }))
  const progress = new Progress(parts.flatMap(({ experiments }) => experiments))
  for (const { part, experiments } of parts) {
    const findings = experiments.flatMap((experiment) => measure(experiment, progress))
    console.log(`\n${part}\n${tableOf(findings)}`)
  }
}

const PLANS: Readonly<Record<Part, (all: readonly Subject[], options: Options) => Experiment[]>> = {
  calls: (all, options) => callExperiments(all, roundsFor(options, 50, 12)),
  scale: () => [],
  memory: () => [],
  traffic: () => [],
}

function roundsFor({ rounds, quick }: Options, full: number, few: number): number {
  return rounds ?? (quick ? few : full)
}

function measure(experiment: Experiment, progress: Progress): Finding[] {
  progress.begin(experiment)
  const series = runExperiment(experiment, (round) => progress.round(experiment, round))
  progress.end()
  return series.flatMap(findingsOf)
}

try {
  main()
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : error}`)
  process.exitCode = error instanceof OptionError ? 2 : 1
}
