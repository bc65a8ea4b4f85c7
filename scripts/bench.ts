import { mkdirSync, writeFileSync } from 'node:fs'
import { quote } from '../src/core/shell.ts'
import { run as runShell } from '../test/support/private_namespaces.ts'
import { enterSandbox } from '../test/support/sandbox.ts'
import { drawingOf } from './benchmark/drawing.ts'
import { type Experiment, runExperiment, type Series } from './benchmark/experiment.ts'
import { type Finding, findingsOf } from './benchmark/findings.ts'
import { describeMachine, isBusy, type Machine } from './benchmark/machine.ts'
import { installPrograms, subjects } from './benchmark/networks.ts'
import { HELP, OptionError, type Options, parseOptions } from './benchmark/options.ts'
import { plan } from './benchmark/plan.ts'
import { Progress } from './benchmark/progress.ts'
import { goalTable, machineTable, tableOf } from './benchmark/tables.ts'

/*
 * scripts/bench has put this process into a process namespace; here it gets a network and mounts of its own, so the
 * machine's network and /var/lib/cni are not even seen.
 */
function main(): void {
  const options = parseOptions(process.argv.slice(2), process.env['BOWLINE_BENCH_CWD'] ?? process.cwd())
  if (options.help) console.log(HELP)
  else bench(options)
}

function bench(options: Options): void {
  const work = process.env['BOWLINE_BENCH_WORK']
  if (!work)
    throw new Error('there is no directory to work in: run scripts/bench, which makes one and removes it')
  enterSandbox()
  prepareDisk(work, options)
  const machine = describeMachine(`${work}/bin`)
  console.log(machineTable(machine, isBusy()))
  const parts = plan(subjects(`${work}/bin`, options.plugins), options, work)
  const progress = new Progress(parts.flatMap(({ experiments }) => experiments))
  const series = parts.flatMap(({ part, experiments }) => {
    const measured = experiments.flatMap((experiment) => measure(experiment, progress, `${work}/bin`))
    console.log(`\n${part}\n${tableOf(measured.flatMap(findingsOf))}`)
    return measured
  })
  report(options, machine, series)
}

/** Installs the programs, and puts the store where it was asked for: on a disk, as that of a node is. */
function prepareDisk(work: string, { store }: Options): void {
  const directory = store ? `${store}/bowline-bench-${process.pid}-${Date.now()}` : `${work}/leases`
  // What removes it when this process can't, reads its name here.
  writeFileSync(`${work}/store`, directory)
  mkdirSync(directory)
  installPrograms(`${work}/bin`)
  runShell(`mount -t tmpfs tmpfs /run; mkdir -p /run/netns /run/lock
    mount --bind ${quote(directory)} /var/lib/cni`)
}

function measure(experiment: Experiment, progress: Progress, programs: string): Series[] {
  progress.begin(experiment)
  installPrograms(programs)
  const series = runExperiment(experiment, (round) => progress.round(experiment, round))
  progress.end()
  return series
}

function report({ json, svg }: Options, machine: Machine, series: readonly Series[]): void {
  const findings: Finding[] = series.flatMap(findingsOf)
  console.log(`\n${goalTable(findings)}`)
  if (json) writeFileSync(json, `${JSON.stringify({ machine, findings, series }, null, 1)}\n`)
  if (svg) writeFileSync(svg, drawingOf(findings, machine))
}

try {
  main()
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : error}`)
  process.exitCode = error instanceof OptionError ? 2 : 1
}
