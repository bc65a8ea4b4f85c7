import { existsSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'

/** The parts of the benchmark, in the order in which they run. */
export const PARTS = ['calls', 'burst', 'leases', 'footprint', 'traffic'] as const
export type Part = (typeof PARTS)[number]

/** A plugin to compare with ours, called with the configuration of the reference bridge. */
export type PluginChoice = { readonly directory: string; readonly type: string }

export type Options = {
  readonly parts: readonly Part[]
  readonly quick: boolean
  /** Rounds of each measurement. Default: a number for each of them. */
  readonly rounds?: number
  readonly plugins: readonly PluginChoice[]
  /** An absolute path. */
  readonly svg?: string
  readonly help: boolean
}

/** A mistake on the command line. The message names the option and the remedy. */
export class OptionError extends Error {}

export const HELP = `Measures Bowline beside the reference plugins bridge and host-local, in namespaces of its own.

  npm run bench -- [OPTIONS]

  --quick              fewer rounds, and no store of 60,000 leases
  --rounds N           N rounds of everything
  --only PART[,PART]   ${PARTS.join(', ')}; default: all
  --plugin DIR:TYPE    adds the plugin DIR/TYPE, with the configuration of the reference bridge. May be repeated
  --svg FILE           draws the ratios

On a busy machine: nice -n -20 npm run bench
`

/** Reads the command line. Relative paths are taken from `cwd`. Throws an OptionError. */
export function parseOptions(args: readonly string[], cwd: string): Options {
  const { only, quick = false, rounds, plugin = [], svg, help = false } = parse(args)
  const parts = only?.split(',') ?? PARTS
  const unknown = parts.find((name) => !PARTS.some((part) => part === name))
  if (unknown !== undefined) throw new OptionError(`--only: unknown part ${unknown}. Use ${PARTS.join(', ')}`)
  if (rounds !== undefined && !/^[1-9]\d{0,3}$/.test(rounds))
    throw new OptionError(`--rounds: ${rounds} is not a number of rounds. Use 1 to 9999`)
  const drawing = svg === undefined ? undefined : resolve(cwd, svg)
  if (drawing && !statSync(dirname(drawing), { throwIfNoEntry: false })?.isDirectory())
    throw new OptionError(`--svg: there is no directory ${dirname(drawing)}. Create it, or name another one`)
  return {
    parts: PARTS.filter((part) => parts.includes(part)),
    quick,
    ...(rounds !== undefined && { rounds: Number(rounds) }),
    plugins: plugin.map((text) => pluginOf(text, cwd)),
    ...(drawing && { svg: drawing }),
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

function pluginOf(text: string, cwd: string): PluginChoice {
  const [given = '', type = ''] = text.split(':')
  const directory = resolve(cwd, given)
  if (type && existsSync(join(directory, type))) return { directory, type }
  throw new OptionError(`--plugin: ${text} is not DIR:TYPE of a plugin. Use one like /opt/cni/bin:ptp`)
}
