import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { quote } from '../../src/core/shell.ts'
import { run } from '../../test/support/node/private_namespaces.ts'
import { DUAL } from './calls.ts'
import { type Bench, call, commandOf, experimentOn, outputOf, unattached } from './nodes.ts'
import type { Contender, Experiment } from './rounds.ts'
import type { Subject } from './subjects.ts'

/** Measures the size of the files, and the memory of the ADD with most work. */
export function footprintExperiment(subjects: readonly Subject[], rounds: number): Experiment {
  return experimentOn(subjects, {
    title: 'of an ADD, dual stack + ipMasq',
    unit: 'MB',
    rounds,
    warmUps: 1,
    contendersOf: (bench) => [footprintContender(bench)],
  })
}

function footprintContender(bench: Bench): Contender {
  const [pod] = bench.pods(1)
  if (!pod) throw new Error('no pod')
  const network = bench.network(DUAL)
  // Dirty pages of a file would count as memory of the processes that map it.
  run(`sync ${bench.subject.programs.map(quote).join(' ')}`)
  return {
    ...bench.contender,
    measure: () => {
      const container = unattached(pod)
      const { command, env, input } = commandOf(network, 'ADD', container)
      writeFileSync(INPUT, input)
      const { exitCode, stdout, stderr } = network.node.enter(() =>
        Bun.spawnSync(['sh', '-eu', '-c', HELD, 'sh', ...command], {
          env,
          stdout: 'pipe',
          stderr: 'pipe',
          timeout: TIMEOUT_MS,
        }),
      )
      const text = readFileSync(ANSWER, 'utf8')
      const prevResult = outputOf(network, 'ADD', { exitCode, text, errors: `${stderr}` })
      call(network, 'DEL', { ...container, prevResult })
      for (const file of [INPUT, ANSWER]) rmSync(file)
      return {
        'private dirty': (Number(stdout) * 1024) / 1e6,
        'size of the programs': sizeOf(bench.subject) / 1e6,
      }
    },
  }
}

/** Returns the bytes of the executable and of the IPAM plugin that it starts. */
function sizeOf({ programs }: Subject): number {
  return programs.reduce((sum, path) => sum + statSync(path).size, 0)
}

const INPUT = '/run/bench-input'
const ANSWER = '/run/bench-answer'
const PIPE = '/run/bench-pipe'
const TIMEOUT_MS = 60_000
/**
 * Runs a program with a full pipe as standard output, so that it blocks in its last step, the write of its answer. Prints
 * its private dirty memory then, in units of 1,024 bytes: the cost of one more such process. Nothing is traced.
 */
const HELD = `
status=0; rm -f ${PIPE}; mkfifo ${PIPE}; exec 3<>${PIPE}
head -c 65536 /dev/zero >&3
"$@" <${INPUT} >&3 & pid=$!
until cat /proc/$pid/task/*/syscall | grep -qE '^(1|64) 0x1 '; do sleep 0.01; done
awk '/^Private_Dirty/ { print $2 }' /proc/$pid/smaps_rollup
head -c 65536 <&3 >/dev/null
wait $pid || status=$?
printf '\n--- end ---\n' >&3
sed '/^--- end ---$/Q' <&3 >${ANSWER}
exit $status`
