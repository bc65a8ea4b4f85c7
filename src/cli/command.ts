import type { PluginRunner } from '../cni/delegate.ts'
import type { Files } from '../core/files.ts'

/** A command for people: an entry in the table of src/cli/command_line.ts. */
export type Command = {
  /** One line for the overview. */
  readonly summary: string
  readonly options: Readonly<Record<string, Option>>
  /** Whole command lines, each with its purpose. */
  readonly examples: readonly (readonly [commandLine: string, purpose: string])[]
  /** Returns the exit code. Throws a Fault, which is printed in one place. */
  run(options: Options, context: CommandContext): number
}

/** An option `--name VALUE`, or without a value if none is named here. */
export type Option = { readonly value?: string; readonly help: string }

/** The options that were given; one without a value is the empty text. */
export type Options = Readonly<Record<string, string | undefined>>

/** The ports of a command. */
export type CommandContext = {
  readonly files: Files
  readonly plugins: PluginRunner
  /** Where the attachment records are. */
  readonly recordsDir: string
  /** Returns the number of attachments of this node, on all networks. */
  readonly countAttachments: () => number
  readonly readStdin: () => string
  /** Writes a line to stdout. */
  readonly print: (line: string) => void
  /** Writes a line to stderr. */
  readonly warn: (line: string) => void
  /** Lets this very program serve one call of the plugin, in this process. */
  readonly callPlugin: (call: PluginCall) => PluginAnswer
}

export type PluginCall = {
  readonly command: 'STATUS'
  /** The network configuration, as a runtime writes it to stdin. */
  readonly config: string
  readonly cniPath: string
}

export type PluginAnswer = { readonly exitCode: number; readonly stdout: string }
