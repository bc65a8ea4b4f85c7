import { Fault } from './core/errors.ts'
import { installLeanBuiltins } from './core/lean_builtins.ts'
import { createLinuxFiles } from './kernel/linux/files.ts'
import { createLinuxKernel } from './kernel/linux/kernel.ts'
import { createPluginRunner } from './kernel/linux/spawn.ts'
import { exit, readStandardInput, writeStandardOutput } from './kernel/linux/stdio.ts'
import { runPlugin } from './verbs/plugin.ts'
import { DEFAULT_PATHS } from './verbs/ports.ts'

/*
 * The composition root: the only file that knows both the verbs and the Linux adapters. With CNI_COMMAND in the
 * environment this is a CNI plugin, and everything that it imports statically is paid for at each pod start;
 * all else sits behind `await import()`.
 */
const env = process.env as Record<string, string>

if (env['CNI_COMMAND'] !== undefined) {
  installLeanBuiltins()
  const { exitCode, stdout } = runPlugin({
    env,
    calledAs: process.argv0,
    readStdin: readStandardInput,
    ports: {
      kernel: createLinuxKernel(),
      files: createLinuxFiles(),
      plugins: createPluginRunner(),
      paths: DEFAULT_PATHS,
    },
    // The one verb that says how to repair what it finds takes as much code as all others: ADD must not load it.
    check: env['CNI_COMMAND'] === 'CHECK' ? (await import('./verbs/check.ts')).check : notLoaded,
  })
  if (stdout) writeStandardOutput(stdout)
  exit(exitCode)
} else {
  const { runCommandLine } = await import('./cli/command_line.ts')
  await runCommandLine()
}

function notLoaded(): never {
  throw new Fault('CHECK was not loaded')
}
