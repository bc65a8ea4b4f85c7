import { SUPPORTED_VERSIONS } from '../cni/versions.ts'
import { Fault, isErrno } from '../core/errors.ts'
import { VERSION } from '../core/version.ts'
import { CNI } from './cni.ts'
import type { Command, CommandContext } from './command.ts'
import { completionFor } from './completion.ts'
import { DOCTOR } from './doctor/doctor.ts'
import { GC } from './gc.ts'
import { INSTALL } from './install.ts'
import { IPAM } from './ipam.ts'
import { LOGS } from './logs.ts'
import { NODES } from './nodes.ts'
import { allOptions, parseOptions, UsageFault, unknownWord } from './options.ts'
import { PODS } from './pods.ts'
import { REPAIR } from './repair.ts'
import { printable } from './screen.ts'
import { STATUS } from './status.ts'
import { UNINSTALL } from './uninstall.ts'

/** All commands. A new one is a file and a line here. */
const COMMANDS: Readonly<Record<string, Command>> = {
  status: STATUS,
  pods: PODS,
  nodes: NODES,
  ipam: IPAM,
  doctor: DOCTOR,
  repair: REPAIR,
  gc: GC,
  cni: CNI,
  logs: LOGS,
  install: INSTALL,
  uninstall: UNINSTALL,
  completion: completionFor(() => COMMANDS),
}

const HELP = ['--help', '-h', 'help']

/** Serves a command line of a person, without the program's name, and returns the exit code: 1 failed, 2 not understood. */
export function runCommandLine(args: readonly string[], ports: CommandContext): number {
  const [word, ...rest] = args
  const context: CommandContext = {
    ...ports,
    print: (line) => ports.print(printable(line)),
    warn: (line) => ports.warn(printable(line)),
  }
  const isJson = rest.includes('--json')
  try {
    // Without CNI_COMMAND a plugin says what it is on stderr: its stdout is for results (specification, section 2).
    if (word === undefined) return say({ print: context.warn }, overview())
    if (HELP.includes(word)) return say(context, overview())
    if (word === '--version') return say(context, `bowline ${VERSION}`)
    const command = Object.hasOwn(COMMANDS, word) ? COMMANDS[word] : undefined
    if (!command) throw unknownWord('command', word, Object.keys(COMMANDS))
    if (rest.some((one) => HELP.includes(one))) return say(context, helpOf(word, command))
    return command.run(parseOptions(rest, command), context)
  } catch (error) {
    if (!(error instanceof Fault)) throw error
    return reportFault(asPerson(error, word, context), isJson, word, context)
  }
}

/** Whoever is not root may read neither records nor the kernel's tables: that comes before whatever the hint says of one file. */
function asPerson(error: Fault, word: string | undefined, { files }: CommandContext): Fault {
  if (!isErrno(error, 'EACCES', 'EPERM')) return error
  const isRoot = /^Uid:\s+\d+\s+0\s/m.test(files.readForeign('/proc/self/status') ?? 'Uid: 0 0 ')
  return isRoot
    ? error
    : new Fault(error.message, { cause: error, hint: `Run it as root: sudo bowline ${word} …` })
}

function reportFault(
  error: Fault,
  isJson: boolean,
  word: string | undefined,
  { print, warn }: CommandContext,
): number {
  const { message, hint, code } = error
  if (isJson) print(JSON.stringify({ error: { message, hint, code } }))
  else warn([`bowline: ${message}`, ...(hint ? [`bowline: ${hint}`] : [])].join('\n'))
  if (!(error instanceof UsageFault)) return 1
  const help =
    word !== undefined && Object.hasOwn(COMMANDS, word) ? `bowline ${word} --help` : 'bowline --help'
  if (!isJson) warn(`bowline: see ${help}`)
  return 2
}

function say({ print }: Pick<CommandContext, 'print'>, text: string): number {
  print(text)
  return 0
}

function overview(): string {
  const commands = Object.entries(COMMANDS).map(([name, { summary }]): [string, string] => [name, summary])
  return [
    `bowline ${VERSION}: the network of Kubernetes pods, as a CNI plugin.`,
    `CNI protocol versions supported: ${SUPPORTED_VERSIONS.join(', ')}`,
    '',
    'Commands, each with --help:',
    ...columns(commands),
    '',
    'A container runtime sets CNI_COMMAND, and writes the configuration to stdin:',
    `  echo '{"cniVersion":"1.1.0"}' | CNI_COMMAND=VERSION bowline`,
  ].join('\n')
}

function helpOf(word: string, { summary, words = [], options, examples }: Command): string {
  const lines = Object.entries(allOptions(options)).map(
    ([name, { value, help, short }]): [string, string] => [
      `${short ? `-${short}, ` : ''}--${name}${value === undefined ? '' : ` ${value}`}`,
      help,
    ],
  )
  return [
    `bowline ${word}: ${summary}`,
    '',
    `Usage: ${['bowline', word, ...words, '[OPTIONS]'].join(' ')}`,
    '',
    'Options:',
    ...columns(lines),
    '',
    'Examples:',
    ...(isNarrow(examples)
      ? columns(examples)
      : examples.flatMap((rows) => [`  ${rows[0]}`, `      ${rows[1]}`])),
  ].join('\n')
}

/** Terminals have 80 columns at least. */
function isNarrow(rows: readonly (readonly [string, string])[]): boolean {
  return columns(rows).every((line) => line.length <= 80)
}

function columns(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...rows.map(([left]) => left.length))
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`)
}
