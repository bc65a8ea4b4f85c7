import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { BOWLINE, type PluginAnswer, type PluginCall, runPlugin } from './plugin.ts'

/** How often a process and its threads made each system call, by name. */
export type SystemCalls = Readonly<Record<string, number>>

/** Calls the plugin below strace. `directory` is one for the files that this takes. */
export async function tracePlugin(
  call: PluginCall,
  directory: string,
): Promise<{ readonly answer: PluginAnswer; readonly calls: SystemCalls }> {
  const [program, trace] = [`${directory}/traced`, `${directory}/trace`]
  writeFileSync(program, `#!/bin/sh\nexec strace -f -qq -o '${trace}' '${call.program ?? BOWLINE}'\n`)
  chmodSync(program, 0o755)
  const answer = await runPlugin({ ...call, program })
  return { answer, calls: countSystemCalls(readFileSync(trace, 'utf8')) }
}

/** Counts the lines of `strace -f -o`; one that was interrupted by another thread's counts once. */
export function countSystemCalls(trace: string): SystemCalls {
  const counts: Record<string, number> = {}
  for (const [, name = ''] of trace.matchAll(/^\d+ +(\w+)\(/gm)) counts[name] = (counts[name] ?? 0) + 1
  return counts
}

/** What `calls` has more than `base`. */
export function beyond(calls: SystemCalls, base: SystemCalls): SystemCalls {
  return Object.fromEntries(
    Object.entries(calls)
      .map(([name, count]) => [name, count - (base[name] ?? 0)] as const)
      .filter(([, count]) => count > 0),
  )
}
