import { writeFileSync } from 'node:fs'
import { quote } from '../../src/core/shell.ts'
import { fillPluginDirectory } from '../../test/support/node/plugin.ts'
import { run } from '../../test/support/node/private_namespaces.ts'
import { enterSandbox } from '../../test/support/node/sandbox.ts'
import { drawingOf } from './drawing.ts'
import { describeMachine } from './machine.ts'
import { HELP, OptionError, parseOptions } from './options.ts'
import { plan } from './plan.ts'
import { runExperiment } from './rounds.ts'
import { subjectsOf } from './subjects.ts'
import { type Finding, findingsOf, tableOf, verdictOf } from './tables.ts'

const PLUGINS = '/run/bench-plugins'

/** scripts/bench/run has put this process into a process namespace; here it gets a network and mounts of its own. */
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
  for (const experiment of plan(subjectsOf(PLUGINS, options.plugins), options)) {
    process.stderr.write(`bench: ${experiment.title}, ${experiment.rounds} rounds\n`)
    const found = (await runExperiment(experiment)).flatMap(findingsOf)
    console.log(`\n${tableOf(found)}`)
    findings.push(...found)
  }
  console.log(`\n${verdictOf(findings)}`)
  if (options.svg) writeFileSync(options.svg, drawingOf(findings, machine))
}

try {
  await main()
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : error}`)
  process.exitCode = error instanceof OptionError ? 2 : 1
}
