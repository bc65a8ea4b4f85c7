import { existsSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'

/** The parts of the benchmark, in the order in which they run. */
export const PARTS = ['calls', 'burst', 'leases', 'footprint', 'traffic'] as const
export type Part = (typeof PARTS)[number]

/** A plugin that the reader wants to see beside ours. */
export type PluginChoice = {
  readonly directory: string
  readonly type: string
  /** Keys that are added to the configuration, or replace what is there. */
  readonly keys: Readonly<Record<string, unknown>>
}

export type Options = {
  readonly parts: readonly Part[]
  readonly quick: boolean
  /** Rounds of each measurement; each has a number of its own when it is left out. */
  readonly rounds?: number
  readonly plugins: readonly PluginChoice[]
  /** An absolute path. */
  readonly svg?: string
  readonly help: boolean
}

/** A mistake on the command line. The message names the option and the hint. */
export class OptionError extends Error {}

export const HELP = `Measures Bowline beside the reference plugins bridge and host-local, in namespaces of its own.

  npm run bench -- [OPTIONS]

  --quick              fewer rounds, and no store of 60,000 leases
  --rounds N           so many rounds of everything
  --only PART[,PART]   ${PARTS.join(', ')}; all of them unless told otherwise
  --plugin DIR:TYPE[:JSON]
                       puts another plugin beside it: the executable DIR/TYPE, called with the configuration of the
                       reference bridge and the keys of the JSON object. {subnet4}, {subnet6} and {masquerade} in it
                       stand for what is measured. May be given again
  --svg FILE           draws the ratios

On a machine that is also busy with other things: nice -n -20 npm run bench
`

/** Reads the command line. Relative paths are taken from `cwd`. Throws an OptionError. */
export function parseOptions(args: readonly string[], cwd: string): Options {
  const { only, quick = false, rounds, plugin = [], svg, help = false } = parse(args)
  return {
    parts: only === undefined ? PARTS : partsOf(only),
    quick,
    ...(rounds !== undefined && { rounds: roundsOf(rounds) }),
    plugins: plugin.map((text) => pluginOf(text, cwd)),
    ...(svg !== undefined && { svg: writable(resolve(cwd, svg)) }),
    help,
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
        svg: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    }).values
  } catch (error) {
    throw new OptionError(`${error instanceof Error ? error.message : error}. See: npm run bench -- --help`)
  }
}

function partsOf(text: string): Part[] {
  const names = text.split(',')
  const unknown = names.find((name) => !PARTS.some((part) => part === name))
  if (unknown === undefined) return PARTS.filter((part) => names.includes(part))
  throw new OptionError(`--only: there is no part ${JSON.stringify(unknown)}. Use ${PARTS.join(', ')}`)
}

function roundsOf(text: string): number {
  if (/^[1-9]\d{0,3}$/.test(text)) return Number(text)
  throw new OptionError(`--rounds: ${JSON.stringify(text)} is no number of rounds. Use 1 to 9999`)
}

function pluginOf(text: string, cwd: string): PluginChoice {
  const [, given = '', type = '', json = '{}'] = /^([^:]+):([^:/]+)(?::(.*))?$/s.exec(text) ?? []
  if (!given)
    throw new OptionError(`--plugin: ${JSON.stringify(text)} is not DIR:TYPE[:JSON]. Use /opt/cni/bin:ptp`)
  const directory = resolve(cwd, given)
  if (existsSync(join(directory, type))) return { directory, type, keys: keysOf(json) }
  throw new OptionError(
    `--plugin: there is no ${join(directory, type)}. Give the directory that the plugin is in`,
  )
}

function keysOf(json: string): Record<string, unknown> {
  try {
    const keys: unknown = JSON.parse(json)
    if (typeof keys === 'object' && keys !== null && !Array.isArray(keys)) return { ...keys }
  } catch {}
  throw new OptionError(
    `--plugin: ${JSON.stringify(json)} is no JSON object. Quote it: '/opt/cni/bin:ptp:{"mtu":1400}'`,
  )
}

/** Now, and not at the end of the measurement. */
function writable(path: string): string {
  if (statSync(dirname(path), { throwIfNoEntry: false })?.isDirectory()) return path
  throw new OptionError(`--svg: there is no directory ${dirname(path)}. Make it, or name another one`)
}
