import { existsSync, statSync } from 'node:fs'
import { dirname, isAbsolute, join, normalize } from 'node:path'
import { parseArgs } from 'node:util'
import type { PluginChoice } from './networks.ts'

/** The parts of the benchmark, in the order in which they run. */
export const PARTS = ['calls', 'scale', 'memory', 'traffic'] as const
export type Part = (typeof PARTS)[number]

export type Options = {
  readonly parts: readonly Part[]
  readonly quick: boolean
  /** Rounds of each measurement; each has a number of its own when it is left out. */
  readonly rounds?: number
  readonly plugins: readonly PluginChoice[]
  /** Absolute paths, or undefined. */
  readonly json?: string
  readonly svg?: string
  readonly store?: string
  /** Whether the scheduler chooses the processors of traffic. */
  readonly unpinned: boolean
  readonly help: boolean
}

/** A mistake on the command line. The message names the option and the cure. */
export class OptionError extends Error {}

export const HELP = `Measures Bowline beside the reference plugins bridge and host-local, in namespaces of its own.

  npm run bench -- [OPTIONS]

  --quick              fewer rounds, and no store of 60,000 leases: about a minute
  --rounds N           so many rounds of everything
  --only PART[,PART]   ${PARTS.join(', ')}; all of them unless told otherwise
  --plugin DIR:TYPE[:JSON]
                       puts another plugin beside it: the executable DIR/TYPE, called with the configuration of the
                       reference bridge and the keys of the JSON object. {subnet4}, {subnet6} and {masquerade} in it
                       stand for what is measured. May be given again
  --store DIR          leases and records go to a new directory in DIR; its file system shows in the times
  --unpinned           lets the scheduler choose the processors for traffic; else both ends stay on one
  --json FILE          writes every single measurement
  --svg FILE           draws the ratios

On a machine that is also busy with other things: nice -n -20 npm run bench
`

const MAX_ROUNDS = 10_000

/** Reads the command line. Relative paths are taken from `cwd`. Throws an OptionError. */
export function parseOptions(args: readonly string[], cwd: string): Options {
  const { values } = parse(args)
  const path = (option: 'json' | 'svg' | 'store') => {
    const value = values[option]
    return value === undefined ? {} : { [option]: checkedPath(option, value, cwd) }
  }
  return {
    parts: values.only === undefined ? PARTS : partsOf(values.only),
    quick: values.quick ?? false,
    ...(values.rounds !== undefined && { rounds: roundsOf(values.rounds) }),
    plugins: (values.plugin ?? []).map((text) => pluginOf(text, cwd)),
    ...path('json'),
    ...path('svg'),
    ...path('store'),
    unpinned: values.unpinned ?? false,
    help: values.help ?? false,
  }
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        quick: { type: 'boolean' },
        rounds: { type: 'string' },
        only: { type: 'string' },
        plugin: { type: 'string', multiple: true },
        store: { type: 'string' },
        json: { type: 'string' },
        svg: { type: 'string' },
        unpinned: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    })
  } catch (error) {
    throw new OptionError(`${error instanceof Error ? error.message : error}. See: npm run bench -- --help`)
  }
}

function partsOf(text: string): Part[] {
  const names = text.split(',')
  const unknown = names.find((name) => !PARTS.some((part) => part === name))
  if (unknown !== undefined)
    throw new OptionError(`--only: there is no part ${JSON.stringify(unknown)}. Use ${PARTS.join(', ')}`)
  return PARTS.filter((part) => names.includes(part))
}

function roundsOf(text: string): number {
  const rounds = Number(text)
  if (/^\d+$/.test(text) && rounds >= 1 && rounds <= MAX_ROUNDS) return rounds
  throw new OptionError(`--rounds: ${JSON.stringify(text)} is no number of rounds. Use 1 to ${MAX_ROUNDS}`)
}

function pluginOf(text: string, cwd: string): PluginChoice {
  const [, directory = '', type = '', json] = /^([^:]+):([^:/]+)(?::(.*))?$/s.exec(text) ?? []
  if (!directory)
    throw new OptionError(
      `--plugin: ${JSON.stringify(text)} is not DIR:TYPE or DIR:TYPE:JSON. Use /opt/cni/bin:ptp`,
    )
  const absolute = visible('plugin', isAbsolute(directory) ? directory : join(cwd, directory))
  if (!existsSync(join(absolute, type)))
    throw new OptionError(
      `--plugin: there is no ${join(absolute, type)}. Give the directory that the plugin is in`,
    )
  return { directory: absolute, type, keys: json === undefined ? {} : keysOf(json) }
}

function keysOf(json: string): Record<string, unknown> {
  const wrong = `--plugin: ${JSON.stringify(json)} is no JSON object. Quote it for the shell: '/opt/cni/bin:ptp:{"mtu":1400}'`
  try {
    const keys: unknown = JSON.parse(json)
    if (typeof keys === 'object' && keys !== null && !Array.isArray(keys))
      return keys as Record<string, unknown>
  } catch {
    throw new OptionError(wrong)
  }
  throw new OptionError(wrong)
}

/** Now, and not at the end of the measurement: whether the file can be written there. */
function checkedPath(option: string, value: string, cwd: string): string {
  const path = visible(option, isAbsolute(value) ? value : join(cwd, value))
  const directory = option === 'store' ? path : dirname(path)
  if (statSync(directory, { throwIfNoEntry: false })?.isDirectory()) return path
  throw new OptionError(`--${option}: there is no directory ${directory}. Make it, or name another one`)
}

/** Inside the benchmark's namespaces some directories are others than the machine's. */
function visible(option: string, path: string): string {
  const hidden = HIDDEN.find((one) => `${normalize(path)}/`.startsWith(`${one}/`))
  if (!hidden) return path
  throw new OptionError(
    `--${option}: the benchmark has a ${hidden} of its own. Name a place that is not below ${hidden}`,
  )
}

const HIDDEN = ['/run', '/var/run', '/var/lib', '/proc']
