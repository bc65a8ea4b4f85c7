import { installLeanBuiltins } from './core/lean_builtins.ts'
import { createLinuxFiles } from './kernel/linux/files.ts'
import { createLinuxKernel } from './kernel/linux/kernel.ts'
import { createPluginRunner } from './kernel/linux/spawn.ts'
import { exit, readStandardInput, writeStandardOutput } from './kernel/linux/stdio.ts'
import { isRare, runPlugin } from './verbs/plugin.ts'
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
    // They take as much code as ADD and DEL, which must not load it.
    rare: isRare(env['CNI_COMMAND']) ? (await import('./verbs/rare.ts')).RARE : undefined,
  })
  if (stdout) writeStandardOutput(stdout)
  exit(exitCode)
} else {
  const { runCommandLine } = await import('./cli/command_line.ts')
  await runCommandLine()
}
