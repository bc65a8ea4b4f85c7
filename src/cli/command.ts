import type { PluginRunner } from '../cni/delegate.ts'
import type { Files } from '../core/files.ts'
import type { Machine } from '../core/machine.ts'
import type { Ports } from '../plugin/ports.ts'
import type { Request } from '../plugin/request.ts'

/** A command for people: an entry in the table of src/cli/command_line.ts. */
export type Command = {
  /** One line for the overview. */
  readonly summary: string
  /** The words that stand before or between the options, in their order. One in brackets may be left out. */
  readonly words?: readonly string[]
  readonly options: Readonly<Record<string, Option>>
  /** Whole command lines, each with its purpose. */
  readonly examples: readonly (readonly [commandLine: string, purpose: string])[]
  /** Returns the exit code. Throws a Fault, which is printed in one place. */
  run(options: Options, context: CommandContext): number
}

/** An option `--name VALUE`, or without a value if none is named here. */
export type Option = {
  readonly value?: string
  readonly help: string
  /** One letter: `-f` is `--follow`. */
  readonly short?: string
}

/** The options and words that were given, each by its name; an option without a value is the empty text. */
export type Options = Readonly<Record<string, string | undefined>>

/** The ports of a command. */
export type CommandContext = {
  readonly files: Files
  readonly plugins: PluginRunner
  /** The node as the plugin sees it. */
  readonly ports: Ports
  readonly machine: Machine
  readonly env: Readonly<Record<string, string | undefined>>
  /** The agent runs the command, in a container that shows only some of the node's files. */
  readonly isInContainer: boolean
  /** Where the attachment records are. */
  readonly recordsDir: string
  /** Returns the number of attachments of this node, on all networks. */
  readonly countAttachments: () => number
  readonly readStdin: () => string
  /** Writes a line to stdout. */
  readonly print: (line: string) => void
  /** Writes a line to stderr. */
  readonly warn: (line: string) => void
  /** Asks a server on loopback by HTTP, and returns what it answers. Throws a Fault: ECONNREFUSED if there is none. */
  readonly getFromLoopback: (port: number, path: string) => string
  /** Lets this very program serve one call of the plugin, in this process. */
  readonly callPlugin: (call: PluginCall) => PluginAnswer
}

export type PluginCall = {
  readonly command: 'STATUS' | 'GC'
  /** The network configuration, as a runtime writes it to stdin. */
  readonly config: string
  readonly cniPath: string
  readonly mayRemove?: Request['mayRemove']
}

export type PluginAnswer = { readonly exitCode: number; readonly stdout: string }
