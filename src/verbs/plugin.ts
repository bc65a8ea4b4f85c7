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
import { assertCommandAllowed, NEWEST_VERSION, printVersion } from '../cni/versions.ts'
import { add } from './add.ts'
import { type Call, OWN_IPAM } from './call.ts'
import { check } from './check.ts'
import { del } from './del.ts'
import { gc, ipamGc } from './gc.ts'
import { ipamAdd, ipamCheck, ipamDel } from './ipam.ts'
import { asNotAvailable } from './not_available.ts'
import type { Ports } from './ports.ts'
import { ipamStatus, status } from './status.ts'

export type PluginRun = {
  readonly env: Readonly<Record<string, string>>
  /** The name that the program was called by: a link named bowline-ipam makes it an IPAM plugin. */
  readonly calledAs: string
  readonly readStdin: () => string
  readonly ports: Ports
}

export type PluginAnswer = { readonly exitCode: number; readonly stdout: string }

const PLUGIN = { add, del, check, status, gc }
const IPAM_PLUGIN = { add: ipamAdd, del: ipamDel, check: ipamCheck, status: ipamStatus, gc: ipamGc }

/** One call of the plugin, from environment and stdin to exit code and stdout. Never throws. */
export function runPlugin(run: PluginRun): PluginAnswer {
  let stdin = ''
  try {
    const invocation = readEnvironment(run.env)
    // A runtime may keep stdin open after VERSION: it is not read (specification, section 2).
    if (invocation?.command === 'VERSION') return { exitCode: 0, stdout: printVersion() }
    stdin = run.readStdin()
    if (!invocation) return { exitCode: 0, stdout: '' }
    const config = decoderFor(invocation.command, isIpam(run))(stdin)
    assertCommandAllowed(invocation.command, config.cniVersion)
    return { exitCode: 0, stdout: answer({ invocation, config, stdin, env: run.env }, run) }
  } catch (error) {
    return { exitCode: 1, stdout: printError(error, stdin ? versionForErrors(stdin) : NEWEST_VERSION) }
  }
}

function answer(call: Call, run: PluginRun): string {
  const { ports } = run
  const verbs = isIpam(run) ? IPAM_PLUGIN : PLUGIN
  switch (call.invocation.command) {
    case 'ADD':
      return printResult(verbs.add(call, ports), call.config.cniVersion)
    case 'DEL':
      verbs.del(call, ports)
      return ''
    case 'CHECK':
      verbs.check(call, ports)
      return ''
    case 'STATUS':
      verbs.status(call, ports)
      return ''
    case 'GC':
      verbs.gc(call, ports)
      return ''
    case 'VERSION':
      return printVersion()
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
