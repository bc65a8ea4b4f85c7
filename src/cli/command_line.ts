import { SUPPORTED_VERSIONS } from '../cni/versions.ts'
import { Fault } from '../core/errors.ts'
import { VERSION } from '../core/version.ts'
import { CNI } from './cni.ts'
import type { Command, CommandContext } from './command.ts'
import { completionFor } from './completion.ts'
import { DOCTOR } from './doctor.ts'
import { GC } from './gc.ts'
import { INSTALL } from './install.ts'
import { IPAM } from './ipam.ts'
import { LOGS } from './logs.ts'
import { allOptions, parseOptions, UsageFault, unknownWord } from './options.ts'
import { PODS } from './pods.ts'
import { REPAIR } from './repair.ts'
import { STATUS } from './status.ts'
import { UNINSTALL } from './uninstall.ts'

/** All commands. A new one is a file and a line here. */
const COMMANDS: Readonly<Record<string, Command>> = {
  status: STATUS,
  pods: PODS,
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
export function runCommandLine(args: readonly string[], context: CommandContext): number {
  const [word, ...rest] = args
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
    return reportFault(error, isJson, word, context)
  }
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
    `bowline ${VERSION}: the network of Kubernetes pods. Container runtimes call it as a CNI plugin.`,
    `CNI protocol versions supported: ${SUPPORTED_VERSIONS.join(', ')}`,
    '',
    'Commands, each with --help:',
    ...columns(commands),
    '',
    'As a plugin it is called with CNI_COMMAND in the environment and the configuration on stdin:',
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
    ...columns(examples),
  ].join('\n')
}

function columns(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...rows.map(([left]) => left.length))
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`)
}
