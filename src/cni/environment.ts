import { Code, Fault } from '../core/errors.ts'
import { PATH_RULE } from '../core/files.ts'
import { isInterfaceName, isName, isPlainInterfaceName, tooLong } from '../core/names.ts'

const COMMANDS = ['ADD', 'DEL', 'CHECK', 'STATUS', 'GC', 'VERSION'] as const

type Command = (typeof COMMANDS)[number]

/** CNI_ARGS by key, such as `IP`, `MAC` and `K8S_POD_NAME`. */
type CniArgs = Readonly<Record<string, string>>

/** A call, as the environment describes it. A variable that the command does not need is not read, and its member is empty. */
export type Invocation = {
  readonly command: Command
  readonly containerId: string
  /** Absolute on ADD and CHECK; any text, or empty, on DEL. */
  readonly netns: string
  readonly ifName: string
  readonly args: CniArgs
  /** The caller says that CNI_NETNS may be the namespace that we run in. */
  readonly netnsOverride: boolean
}

type Environment = Readonly<Record<string, string | undefined>>

const ATTACHMENT_COMMANDS: readonly string[] = ['ADD', 'DEL', 'CHECK']

// Runtimes and other plugins use the id as a file name (NAME_MAX), so a longer one cannot work.
const MAX_CONTAINER_ID = 255

/**
 * Reads the CNI_* variables. Returns undefined without CNI_COMMAND: then no runtime has called us. Throws a Fault
 * (code 4) that names the variable, or all variables that are missing. An empty variable is a missing one, since
 * libcni sets them all. Source: CNI specification 1.1.0, section 2, and the reference's skel package.
 */
export function readEnvironment(env: Environment): Invocation | undefined {
  const given = env['CNI_COMMAND']
  if (!given) return undefined
  const command = COMMANDS.find((one) => one === given)
  if (!command) throw invalid(`unknown CNI_COMMAND: ${shown(given)}`, `Use one of ${COMMANDS.join(', ')}.`)
  assertPresent(command, env)
  if (!ATTACHMENT_COMMANDS.includes(command)) {
    return { command, containerId: '', netns: '', ifName: '', args: {}, netnsOverride: false }
  }
  const {
    CNI_CONTAINERID = '',
    CNI_NETNS = '',
    CNI_IFNAME = '',
    CNI_ARGS = '',
    CNI_NETNS_OVERRIDE = '',
  } = env
  assertContainerId(CNI_CONTAINERID)
  assertIfName(CNI_IFNAME, command)
  if (command !== 'DEL') assertNetns(CNI_NETNS)
  return {
    command,
    containerId: CNI_CONTAINERID,
    netns: CNI_NETNS,
    ifName: CNI_IFNAME,
    args: parseArgs(CNI_ARGS, command === 'ADD'),
    netnsOverride: CNI_NETNS_OVERRIDE === '1' || CNI_NETNS_OVERRIDE.toLowerCase() === 'true',
  }
}

function assertPresent(command: Command, env: Environment): void {
  const missing = requiredFor(command).filter((name) => !env[name])
  if (missing.length === 0) return
  throw invalid(`required env variables [${missing.join(',')}] missing`, 'Set them, as a CNI runtime does.')
}

function requiredFor(command: Command): string[] {
  if (command === 'VERSION') return []
  if (!ATTACHMENT_COMMANDS.includes(command)) return ['CNI_PATH']
  const netns = command === 'DEL' ? [] : ['CNI_NETNS']
  return ['CNI_CONTAINERID', ...netns, 'CNI_IFNAME', 'CNI_PATH']
}

function assertContainerId(id: string): void {
  if (isName(id, MAX_CONTAINER_ID)) return
  throw invalid(
    isName(id)
      ? `CNI_CONTAINERID ${tooLong(id, MAX_CONTAINER_ID)}: ${shown(id)}…`
      : `CNI_CONTAINERID: invalid characters in containerID ${shown(id)}`,
    `Use letters, digits, "_", "." and "-", a letter or digit first, at most ${MAX_CONTAINER_ID}.`,
  )
}

/** DEL accepts names that ADD refuses, such as bytes that are not UTF-8: a refused ADD is followed by a DEL. */
function assertIfName(name: string, command: Command): void {
  if (command === 'ADD' ? isPlainInterfaceName(name) : isInterfaceName(name)) return
  throw invalid(
    `CNI_IFNAME: ${shown(name)} is not an interface name`,
    'Use 1 to 15 ASCII characters without space, "/", ":" and "%", and not "." or "..".',
  )
}

function assertNetns(path: string): void {
  if (path.startsWith('/')) return
  throw invalid(
    `CNI_NETNS: ${shown(path)} is not an absolute path (${PATH_RULE})`,
    'Write it like /var/run/netns/NAME.',
  )
}

/**
 * Splits `K=V;K=V`. An unknown key is no error, whatever IgnoreUnknown says (cni#126, cni#560). Throws a Fault for a pair
 * without one "="; leaves the pair out if not strict.
 */
function parseArgs(text: string, strict: boolean): CniArgs {
  const pairs = text.split(';').filter(Boolean)
  const entries = pairs.map((pair) => pair.split('='))
  const wrong = entries.findIndex((parts) => parts.length !== 2)
  if (strict && wrong >= 0) {
    throw invalid(`CNI_ARGS: invalid pair ${shown(pairs[wrong] ?? '')}`, 'Write it like KEY=VALUE;KEY=VALUE.')
  }
  const args: Record<string, string> = {}
  for (const [key = '', value, more] of entries) {
    // An assignment to `__proto__` would change the prototype. The last value of a repeated key counts.
    if (value !== undefined && more === undefined)
      Object.defineProperty(args, key, { value, enumerable: true, configurable: true })
  }
  return args
}

function shown(text: string): string {
  return JSON.stringify(text.slice(0, 60))
}

function invalid(message: string, hint: string): Fault {
  return new Fault(message, { code: Code.invalidEnvironment, hint })
}
