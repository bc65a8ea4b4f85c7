import { writeFileSync } from 'node:fs'
import { quote } from '../../src/core/shell.ts'
import { fillPluginDirectory } from '../../test/support/node/plugin.ts'
import { run } from '../../test/support/node/private_namespaces.ts'
import { enterSandbox } from '../../test/support/node/sandbox.ts'
import { burstExperiment } from './burst.ts'
import { callExperiments } from './calls.ts'
import { drawingOf } from './drawing.ts'
import { footprintExperiment } from './footprint.ts'
import { leaseExperiments } from './leases.ts'
import { describeMachine } from './machine.ts'
import { HELP, OptionError, type Options, type Part, parseOptions } from './options.ts'
import { type Experiment, runExperiment } from './rounds.ts'
import { type Subject, subjectsOf } from './subjects.ts'
import { type Finding, findingsOf, tableOf, verdictOf } from './tables.ts'
import { trafficExperiments } from './traffic.ts'

const PLUGINS = '/run/bench-plugins'

/** Runs in the process namespace of scripts/bench/run, and gives the process a network and mounts of its own. */
async function main(): Promise<void> {
  const cwd = process.env['BOWLINE_BENCH_CWD'] ?? process.cwd()
  const options = parseOptions(process.argv.slice(2), cwd)
  if (options.help) return console.log(HELP)
  const store = process.env['BOWLINE_BENCH_STORE']
  if (!store) throw new Error('there is no place for leases: run scripts/bench/run, which makes one')
  enterSandbox()
  run(`mount -t tmpfs tmpfs /run; mkdir -p /run/netns /run/lock ${PLUGINS}
    mount --bind ${quote(store)} /var/lib/cni`)
  fillPluginDirectory(PLUGINS)
  const machine = describeMachine(PLUGINS)
  console.log(machine)
  const findings: Finding[] = []
  for (const experiment of experimentsOf(subjectsOf(PLUGINS, options.plugins), options)) {
    process.stderr.write(`bench: ${experiment.title}, ${experiment.rounds} rounds\n`)
    const found = (await runExperiment(experiment)).flatMap(findingsOf)
    console.log(`\n${tableOf(found)}`)
    findings.push(...found)
  }
  console.log(`\n${verdictOf(findings)}`)
  if (options.svg) writeFileSync(options.svg, drawingOf(findings, machine))
}

function experimentsOf(all: readonly Subject[], { parts, quick, rounds }: Options): Experiment[] {
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

try {
  await main()
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : error}`)
  process.exitCode = error instanceof OptionError ? 2 : 1
}
