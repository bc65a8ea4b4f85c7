import { accessSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus, loadavg, release } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { quote } from '../../src/core/shell.ts'
import { CACHE, fillPluginDirectory } from '../../test/support/node/plugin.ts'
import { run } from '../../test/support/node/private_namespaces.ts'
import { enterSandbox } from '../../test/support/node/sandbox.ts'
import { NATIVE, TARGETS } from '../build/targets.ts'
import { drawingOf } from './drawing.ts'
import type { Measurement } from './measurement.ts'
import { MEASUREMENTS } from './measurements.ts'
import { createBench, DELETE_LINK, PLUGINS, type Subject, subjectsOf } from './nodes.ts'
import { type Finding, findingsOf, measureRounds, tableOf, verdictOf } from './results.ts'

/** Runs in the process namespace of scripts/bench/run, and gives the process a network and mounts of its own. */
async function main(): Promise<void> {
  const { quick, svg, others, words } = readOptions()
  enterSandbox()
  run(`mkdir -p ${PLUGINS}; mount --bind ${quote(join(CACHE, 'bench'))} /var/lib/cni`)
  fillPluginDirectory(PLUGINS)
  buildDeleteLink()
  const machine = describeMachine()
  console.log(machine)
  const findings: Finding[] = []
  for (const measurement of MEASUREMENTS.filter(({ title }) => words.every((word) => title.includes(word)))) {
    const rounds = measurement.rounds[quick ? 1 : 0]
    if (rounds === 0) continue
    process.stderr.write(`bench: ${measurement.title}, ${rounds} rounds\n`)
    const found = await measure(measurement, subjectsOf(others), rounds)
    console.log(`\n${tableOf(found)}`)
    findings.push(...found)
  }
  console.log(`\n${verdictOf(findings)}`)
  if (svg) writeFileSync(svg, drawingOf(findings, machine))
}

/** Builds it as our own program is built: musl has no headers of the kernel. */
function buildDeleteLink(): void {
  const headers = '-idirafter /usr/include -idirafter /usr/include/$(gcc -print-multiarch)'
  const source = quote(join(import.meta.dirname, 'delete_link.c'))
  run(`${TARGETS[NATIVE].compiler} -static -O2 ${headers} -o ${DELETE_LINK} ${source}`)
}

async function measure(
  { title, metrics, warmUps, prepare }: Measurement,
  subjects: readonly Subject[],
  rounds: number,
): Promise<Finding[]> {
  const benches = subjects.map(createBench)
  try {
    const contenders = benches.map((bench) => ({ name: bench.subject.name, measure: prepare(bench) }))
    return findingsOf(title, metrics, await measureRounds(contenders, rounds, warmUps))
  } finally {
    for (const bench of benches) bench.remove()
    // Removed namespaces keep the kernel busy for a while.
    await Bun.sleep(500)
  }
}

function readOptions() {
  const { values, positionals: words } = parseArgs({
    allowPositionals: true,
    options: {
      quick: { type: 'boolean', default: false },
      svg: { type: 'string' },
      plugin: { type: 'string', multiple: true, default: [] },
    },
  })
  if (values.svg) accessSync(dirname(values.svg))
  const others = values.plugin.map((text) => {
    const [directory = '', type = ''] = text.split(':')
    if (type && existsSync(join(directory, type))) return { directory: resolve(directory), type }
    throw new Error(`--plugin: ${text} is not DIR:TYPE of a plugin. Use one like /opt/cni/bin:ptp`)
  })
  return { ...values, others, words }
}

/** Describes the conditions of the measurement in lines of text. */
function describeMachine(): string {
  const [all, [load = 0]] = [cpus(), loadavg()]
  const version = readFileSync(join(CACHE, 'log/reference-plugins.version'), 'utf8').trim()
  const fileSystemOf = (path: string) => run(`findmnt -n -o FSTYPE -T ${path}`)
  return [
    `${all.length} x ${all[0]?.model.trim() ?? 'unknown processor'}, Linux ${release()} ${process.arch}, load ${load.toFixed(2)}`,
    `reference: bridge and host-local ${version}, static and stripped; masquerading by ${run('iptables --version')}`,
    `leases and records on ${fileSystemOf('/var/lib/cni')}, programs on ${fileSystemOf(`$(readlink -f ${PLUGINS}/bridge)`)}`,
    'Times are from the start of a process to its end; ratios are medians of the ratios of each round.',
    'growth: the time of an ADD as a multiple of one on an empty /24.',
    ...(load > all.length / 2
      ? ['This machine is busy with other things, so the ratios scatter. Wait.']
      : []),
  ].join('\n')
}

try {
  await main()
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : error}`)
  process.exitCode = 1
}
