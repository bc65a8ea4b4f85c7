import { Code, Fault, ignoreErrnos } from '../core/errors.ts'
import { type Sysctl, sysctlCommand } from '../core/shell.ts'
import type { Netns } from '../kernel/kernel.ts'

/** Puts a setting back, if it differs. Nothing is to be done when it has gone with its link. */
export function restoreSysctl(netns: Netns, key: string, value: string): void {
  const now = netns.readSysctl(key)
  if (now !== undefined && now !== value) ignoreErrnos(['ENOENT'], () => netns.writeSysctl(key, value))
}

/** Returns whether a setting can be written, which it can't below a read-only /proc/sys. */
export function isWritable(netns: Netns, key: string): boolean {
  try {
    netns.probeSysctl(key)
    return true
  } catch {
    return false
  }
}

/**
 * Runs `work`, which writes or probes. Throws a Fault that tells what for, and the settings that would do. It names no
 * link but theirs: one that this very ADD has made is gone when somebody reads it.
 */
export function writingSysctls(
  action: string,
  where: 'on the node' | "in the pod's network namespace",
  settings: readonly Sysctl[],
  work: () => void,
): void {
  try {
    work()
  } catch (error) {
    const errno = error instanceof Fault ? error.errno : undefined
    throw new Fault(`${action}: ${errno ?? String(error)}`, {
      code: Code.io,
      ...(errno && { errno }),
      hint: `Make /proc/sys/net writable for the container runtime, or run ${where}: ${sysctlCommand(...settings)}`,
    })
  }
}
