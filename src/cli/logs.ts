import { Code, Fault } from '../core/errors.ts'
import { isPlainPath } from '../core/files.ts'
import { readText } from '../core/text.ts'
import type { Command, CommandContext, Options } from './command.ts'
import { CONF_DIR_OPTION, confDirOf, notAbsolute } from './installation.ts'
import { readNetworks } from './networks.ts'
import { usage } from './options.ts'
import { type Paint, painter } from './screen.ts'

const POLL_MS = 250
const DEFAULT_LINES = '20'
/** At most this much of a log is read at once. */
const CHUNK_BYTES = 8 << 20

export const LOGS: Command = {
  summary: 'show the calls of the plugin (key "logFile")',
  options: {
    follow: { help: 'go on with new calls, until Ctrl-C', short: 'f' },
    lines: { value: 'N', help: `how many calls of the past (default ${DEFAULT_LINES})`, short: 'n' },
    file: { value: 'FILE', help: 'another log than that of the networks' },
    ...CONF_DIR_OPTION,
  },
  examples: [
    ['bowline logs', `the last ${DEFAULT_LINES} calls`],
    ['bowline logs -f', 'and those to come'],
    ['bowline logs --json --lines 1000 | jq', 'as they are written'],
  ],
  run: logs,
}

function logs(options: Options, context: CommandContext): number {
  const file = options['file'] ?? logFileOf(options, context)
  if (!isPlainPath(file)) throw notAbsolute('file', file)
  const count = Number(options['lines'] ?? DEFAULT_LINES)
  if (!Number.isInteger(count) || count < 0) throw usage('--lines: not a number')
  const { print } = context
  const paint = painter(context)
  const show = (lines: readonly string[]): void => {
    const shown = options['json'] === undefined ? lines.map((line) => formatLogLine(line, paint)) : lines
    if (shown.length > 0) print(shown.join('\n'))
  }
  const reader = new LogReader(context, file)
  const former = readText(context.files.readAt(`${file}.1`, 0, CHUNK_BYTES)).split('\n')
  const lines = [...former, ...reader.next()].filter(Boolean)
  if (lines.length === 0 && options['follow'] === undefined)
    context.warn(`there is nothing in ${file} yet: the plugin writes it with its next call`)
  show(count === 0 ? [] : lines.slice(-count))
  while (options['follow'] !== undefined) {
    context.ports.kernel.pause(POLL_MS)
    show(reader.next())
  }
  return 0
}

function logFileOf(options: Options, context: CommandContext): string {
  const networks = readNetworks(confDirOf(options), context.files)
  const file = networks.map(({ config }) => config?.logFile).find(Boolean)
  if (file) return file
  throw new Fault('no network has the key "logFile"', {
    code: Code.invalidConfig,
    hint: 'Add "logFile": "/var/log/bowline.log" to the plugin "bowline" in /etc/cni/net.d, or name a log with --file.',
  })
}

/** Reads what is new in a log, by whole lines. */
class LogReader {
  readonly #context: CommandContext
  readonly #file: string
  #offset = 0

  constructor(context: CommandContext, file: string) {
    this.#context = context
    this.#file = file
  }

  next(): string[] {
    const { files } = this.#context
    let bytes = files.readAt(this.#file, this.#offset, CHUNK_BYTES)
    // A log that was renamed begins anew. What came in between is in the renamed one.
    const isNew = this.#offset > 0 && files.readAt(this.#file, this.#offset - 1, 1).length === 0
    let text = ''
    if (isNew) {
      text = readText(files.readAt(`${this.#file}.1`, this.#offset, CHUNK_BYTES))
      this.#offset = 0
      bytes = files.readAt(this.#file, 0, CHUNK_BYTES)
    }
    const end = bytes.lastIndexOf(10) + 1
    this.#offset += end
    return `${text}${readText(bytes.subarray(0, end))}`.split('\n').filter(Boolean)
  }
}

type LogLine = {
  readonly level: number
  readonly time: number
  readonly command?: string
  readonly network?: string
  readonly container?: string
  readonly namespace?: string
  readonly pod?: string
  readonly ifName?: string
  readonly ms?: number
  readonly code?: number
  readonly err?: string
  readonly hint?: string
  readonly msg: string
}

/** Returns a line of the log for people, with the time in UTC; as it is if it is not one of ours. */
export function formatLogLine(text: string, paint: Paint): string {
  const line = parseLine(text)
  if (!line) return text
  const { level, time, command = '', network, ifName, ms, msg, err, code, hint } = line
  const when = paint('dim', clock(time))
  const took = ms === undefined ? '' : `${ms.toFixed(ms < 10 ? 2 : 1)} ms`
  if (level <= 10) return `${when} ${paint('dim', `  ${took.padStart(9)}  ${msg}${err ? `: ${err}` : ''}`)}`
  const failed =
    err === undefined
      ? paint('green', 'ok')
      : paint('red', code === undefined ? 'failed' : `failed (${code})`)
  const pod = line.pod ? `${line.namespace}/${line.pod}` : (line.container?.slice(0, 12) ?? '')
  const what = [network, pod, ifName].filter(Boolean).join('  ')
  const head = `${when} ${took.padStart(9)}  ${paint('bold', command.padEnd(6))} ${failed}  ${what}`.trimEnd()
  return [
    head,
    ...(err ? [`${' '.repeat(14)}${paint('red', err)}`] : []),
    ...(hint ? [`${' '.repeat(14)}${hint}`] : []),
  ].join('\n')
}

function parseLine(text: string): LogLine | undefined {
  try {
    const value = JSON.parse(text) as LogLine | null
    return typeof value?.time === 'number' && typeof value.msg === 'string' ? value : undefined
  } catch {
    return undefined
  }
}

function clock(ms: number): string {
  const two = (value: number) => String(Math.floor(value)).padStart(2, '0')
  const seconds = Math.floor(ms / 1000) % 86400
  return `${two(seconds / 3600)}:${two((seconds / 60) % 60)}:${two(seconds % 60)}.${String(Math.floor(ms) % 1000).padStart(3, '0')}`
}
