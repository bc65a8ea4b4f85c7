import {
  decodeConfig,
  decodeForGc,
  decodeForIpam,
  decodeForRemoval,
  type NetworkConfig,
  versionForErrors,
} from '../cni/config.ts'
import { type Invocation, readEnvironment } from '../cni/environment.ts'
import { printError } from '../cni/print_error.ts'
import { printResult } from '../cni/print_result.ts'
import type { CniResult } from '../cni/result.ts'
import { assertCommandAllowed, NEWEST_VERSION, printVersion } from '../cni/versions.ts'
import { add } from './add.ts'
import { CallLog, type LogPort } from './call_log.ts'
import { check } from './check.ts'
import { del } from './del.ts'
import { gc, ipamGc } from './gc.ts'
import { ipamAdd, ipamCheck, ipamDel } from './ipam.ts'
import { asNotAvailable } from './not_available.ts'
import type { Ports } from './ports.ts'
import { OWN_IPAM, type Request } from './request.ts'
import { ipamStatus, status } from './status.ts'

export type PluginRun = {
  readonly env: Readonly<Record<string, string>>
  /** The name that the program was called by: a link named bowline-ipam makes it an IPAM plugin. */
  readonly calledAs: string
  readonly readStdin: () => string
  /** Throws a Fault if not all of the text and a line feed could be written. */
  readonly writeStdout: (text: string) => void
  readonly ports: Ports
  readonly mayRemove?: Request['mayRemove']
  /** Absent: the call is not logged. */
  readonly log?: LogPort
}

type Command = {
  /** Reads the configuration on standard input. */
  readonly decode: (text: string) => NetworkConfig
  readonly run: (request: Request, ports: Ports) => void
}

/**
 * The commands, as the plugin that makes interfaces and as the IPAM plugin. A removal must not fail for a key that it does
 * not need; an IPAM plugin does not judge the keys of the plugin that calls it.
 */
const COMMANDS = {
  ADD: { plugin: { decode: decodeConfig, run: add }, ipam: { decode: decodeForIpam, run: ipamAdd } },
  DEL: { plugin: { decode: decodeForRemoval, run: del }, ipam: { decode: decodeForRemoval, run: ipamDel } },
  CHECK: { plugin: { decode: decodeConfig, run: check }, ipam: { decode: decodeForIpam, run: ipamCheck } },
  STATUS: { plugin: { decode: decodeConfig, run: status }, ipam: { decode: decodeForIpam, run: ipamStatus } },
  GC: { plugin: { decode: decodeForGc, run: gc }, ipam: { decode: decodeForGc, run: ipamGc } },
} satisfies Record<string, Record<'plugin' | 'ipam', Command>>

/**
 * Serves one call of the plugin, from environment and stdin to stdout, and returns the exit code. Throws a Fault only if
 * stdout takes neither a result nor an error.
 */
export function runPlugin(run: PluginRun): number {
  let stdin = ''
  const log = run.log && new CallLog(run.log)
  try {
    const invocation = readEnvironment(run.env)
    // A runtime may keep stdin open after VERSION: it is not read (specification, section 2).
    if (invocation?.command !== 'VERSION') stdin = run.readStdin()
    if (invocation) serve(run, invocation, stdin, log)
    log?.end()
    return 0
  } catch (error) {
    run.writeStdout(printError(error, stdin ? versionForErrors(stdin) : NEWEST_VERSION))
    log?.end(error)
    return 1
  }
}

function serve(
  { env, calledAs, writeStdout, ports, mayRemove }: PluginRun,
  invocation: Invocation,
  stdin: string,
  log?: CallLog,
): void {
  const { command } = invocation
  log?.begin(invocation)
  if (command === 'VERSION') {
    writeStdout(printVersion())
    return
  }
  const face = calledAs.endsWith(OWN_IPAM) ? 'ipam' : 'plugin'
  const { decode, run } = COMMANDS[command][face]
  const answer = (): void => {
    const config = decode(stdin)
    assertCommandAllowed(command, config.cniVersion)
    const deliver = (result: CniResult) => writeStdout(printResult(result, config.cniVersion))
    // The keys of an IPAM plugin's configuration are its caller's, "logFile" too.
    const traced = face === 'plugin' ? log?.begin(invocation, config) : undefined
    run({ invocation, config, stdin, env, deliver, mayRemove }, traced ?? ports)
  }
  // An invalid configuration is one more reason why no ADD can be served.
  if (command === 'STATUS') asNotAvailable(answer)
  else answer()
}
