import { Code, Fault } from '../core/errors.ts'
import { isObject, parseJson } from '../core/json.ts'
import { isName } from '../core/names.ts'

/** Runs other plugins. The adapter alone knows how to start a process. */
export interface PluginRunner {
  /** Reports whether the path, or the target of a link there, is an executable file. */
  isExecutable(path: string): boolean
  /**
   * Runs a plugin to its end with exactly this environment and standard input; its stderr goes to ours. Throws a Fault,
   * which has an errno if the plugin was not started.
   */
  run(path: string, env: Readonly<Record<string, string>>, stdin: string): PluginEnd
}

/** The end of a plugin and its output. There is no exit code if a signal ended it, such as SIGKILL. */
export type PluginEnd = {
  readonly exitCode?: number
  readonly signal?: string
  readonly stdout: string
}

/** The hint for a plugin whose output is not a result. */
export const RESULT_HINT =
  'Run it by hand: a result is one JSON object on stdout, all else belongs on stderr.'

export type DelegateCall = {
  /** The plugin's file name, as in `ipam.type`. */
  readonly type: string
  readonly command: string
  /** The whole environment to pass on; CNI_COMMAND in it is replaced by `command`. */
  readonly env: Readonly<Record<string, string>>
  /** The whole network configuration, as it came. */
  readonly stdin: string
}

/**
 * Runs a delegated plugin, found in CNI_PATH, and returns what it printed. Throws a Fault with the delegate's own
 * code and message when it fails. Source: CNI specification 1.1.0, section 4.
 */
export function callDelegate(runner: PluginRunner, { type, command, env, stdin }: DelegateCall): string {
  const path = findPlugin(runner, type, env['CNI_PATH'] ?? '', command)
  const end = runner.run(path, { ...env, CNI_COMMAND: command }, stdin)
  if (end.exitCode === 0) return end.stdout
  throw delegateFault(type, command, end)
}

/** Reports whether the error means that the plugin was not started, so that it has done nothing. */
export function hasNotStarted(error: unknown): boolean {
  return error instanceof Fault && error.errno !== undefined
}

/** Returns the path of a plugin in CNI_PATH. Throws a Fault (code 7) if there is none or the name is not a file name. */
export function findPlugin(runner: PluginRunner, type: string, cniPath: string, command = 'ADD'): string {
  if (!isName(type)) {
    throw new Fault(`key "ipam.type": ${JSON.stringify(type)} is not the name of a plugin`, {
      code: Code.invalidConfig,
      hint: 'Give the file name of an IPAM plugin, without a path, such as "bowline-ipam".',
    })
  }
  const candidates = cniPath.split(':').filter(Boolean)
  const found = candidates.map((dir) => `${dir}/${type}`).find((path) => runner.isExecutable(path))
  if (found) return found
  throw new Fault(`no plugin ${JSON.stringify(type)} in CNI_PATH ${JSON.stringify(cniPath)}`, {
    code: Code.invalidConfig,
    hint:
      command === 'DEL'
        ? // The record names the plugin: a new config would not help.
          `Put ${type} back into a directory of CNI_PATH and repeat the call: only it can free the addresses that it gave.`
        : 'Install the plugin there, or set "ipam.type" to "bowline-ipam", which needs no second binary.',
  })
}

function delegateFault(type: string, command: string, { exitCode, signal, stdout }: PluginEnd): Fault {
  const error = parseJson(stdout)
  const { code, msg, details } = isObject(error) ? error : {}
  const [said, more] = [msg, details].map((part) => (typeof part === 'string' ? part : ''))
  const end = signal ? `ended by ${signal}` : said || `exit status ${exitCode}, no message`
  const hint = signal
    ? "Look into the kernel's log (dmesg): for want of memory, or for a fault of the plugin."
    : "Look into the runtime's log for what the plugin wrote to stderr."
  return new Fault(`plugin ${type} failed to ${command}: ${end}`, {
    code: typeof code === 'number' && code > 0 ? code : Code.internal,
    hint: signal || !said ? hint : more || undefined,
  })
}
