import {
  decodeConfig,
  decodeForGc,
  decodeForIpam,
  decodeForRemoval,
  type NetworkConfig,
  versionForErrors,
} from '../cni/config.ts'
import { readEnvironment } from '../cni/environment.ts'
import { printError } from '../cni/print_error.ts'
import { printResult } from '../cni/print_result.ts'
import type { CniResult } from '../cni/result.ts'
import { assertCommandAllowed, NEWEST_VERSION, printVersion } from '../cni/versions.ts'
import { add } from './add.ts'
import { check } from './check.ts'
import { del } from './del.ts'
import { gc, ipamGc } from './gc.ts'
import { ipamAdd, ipamCheck, ipamDel } from './ipam.ts'
import { asNotAvailable } from './not_available.ts'
import type { Ports } from './ports.ts'
import { OWN_IPAM } from './request.ts'
import { ipamStatus, status } from './status.ts'

export type PluginRun = {
  readonly env: Readonly<Record<string, string>>
  /** The name that the program was called by: a link named bowline-ipam makes it an IPAM plugin. */
  readonly calledAs: string
  readonly readStdin: () => string
  /** Throws a Fault if not all of the text and a line feed could be written. */
  readonly writeStdout: (text: string) => void
  readonly ports: Ports
}

const COMMANDS = { ADD: add, DEL: del, CHECK: check, STATUS: status, GC: gc }
const IPAM_COMMANDS = { ADD: ipamAdd, DEL: ipamDel, CHECK: ipamCheck, STATUS: ipamStatus, GC: ipamGc }

/**
 * Serves one call of the plugin, from environment and stdin to stdout and the exit code, which it returns. Throws a Fault only
 * if stdout takes neither a result nor an error.
 */
export function runPlugin(run: PluginRun): number {
  let stdin = ''
  try {
    const invocation = readEnvironment(run.env)
    // A runtime may keep stdin open after VERSION: it is not read (specification, section 2).
    if (invocation?.command === 'VERSION') {
      run.writeStdout(printVersion())
      return 0
    }
    stdin = run.readStdin()
    if (!invocation) return 0
    const { command } = invocation
    const config = decoderFor(command, isIpam(run))(stdin)
    assertCommandAllowed(command, config.cniVersion)
    const deliver = (result: CniResult) => run.writeStdout(printResult(result, config.cniVersion))
    const commands = isIpam(run) ? IPAM_COMMANDS : COMMANDS
    commands[command]({ invocation, config, stdin, env: run.env, deliver }, run.ports)
    return 0
  } catch (error) {
    run.writeStdout(printError(error, stdin ? versionForErrors(stdin) : NEWEST_VERSION))
    return 1
  }
}

function isIpam({ calledAs }: PluginRun): boolean {
  return calledAs.endsWith(OWN_IPAM)
}

/** A removal must not fail for a key that it does not need; an IPAM plugin does not judge its caller's keys. */
function decoderFor(command: string, ipam: boolean): (text: string) => NetworkConfig {
  if (command === 'DEL') return decodeForRemoval
  if (command === 'GC') return decodeForGc
  const decode = ipam ? decodeForIpam : decodeConfig
  // To STATUS an invalid configuration is one reason more why no ADD can be served.
  return command === 'STATUS' ? (text) => asNotAvailable(() => decode(text)) : decode
}
