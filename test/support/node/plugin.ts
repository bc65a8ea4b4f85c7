import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, symlinkSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

/** Where scripts/setup has put what it built. */
export const CACHE =
  process.env['BOWLINE_CACHE'] ?? join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'bowline')

/** The built executable; BOWLINE_BINARY names another one, such as what was installed on a node. */
export const BOWLINE = process.env['BOWLINE_BINARY'] ?? resolve(import.meta.dirname, '../../../dist/bowline')

/** What a plugin printed: a result, an error, or the answer to VERSION. */
export type PluginOutput = {
  readonly cniVersion?: string
  readonly interfaces?: readonly {
    readonly name: string
    readonly mac?: string
    readonly mtu?: number
    readonly sandbox?: string
  }[]
  readonly ips?: readonly {
    readonly address: string
    readonly gateway?: string
    readonly interface?: number
  }[]
  readonly routes?: readonly { readonly dst: string; readonly gw?: string }[]
  readonly dns?: Record<string, unknown>
  readonly code?: number
  readonly msg?: string
  readonly details?: string
  readonly supportedVersions?: readonly string[]
}

export type PluginCall = {
  readonly command: 'ADD' | 'DEL' | 'CHECK' | 'STATUS' | 'GC' | 'VERSION'
  /** What goes to stdin: text as it is, anything else as JSON. */
  readonly config: unknown
  readonly containerId?: string
  /** A path. Left out, CNI_NETNS is empty. */
  readonly netns?: string
  readonly ifName?: string
  /** CNI_ARGS. */
  readonly args?: string
  /** Where delegated plugins are looked for; the reference plugins unless told otherwise. */
  readonly cniPath?: string
  /** Other variables; one that is undefined is taken away. */
  readonly env?: Record<string, string | undefined>
  /** The program, `BOWLINE` unless told otherwise. */
  readonly program?: string
  /** A command that runs the program which follows it, such as nsenter into another node. */
  readonly inside?: readonly string[]
  /** The name that it is called by, such as `bowline-ipam`. */
  readonly calledAs?: string
  readonly timeoutMs?: number
  /** Kills the process when it is aborted. */
  readonly abort?: AbortSignal
}

export type PluginAnswer = {
  /** Undefined when a signal ended it. */
  readonly exitCode: number | undefined
  readonly signal: string | undefined
  readonly stdout: string
  /** stdout as JSON; an empty object when nothing was printed. Throws when it is not JSON. */
  readonly output: PluginOutput
  readonly stderr: string
  /** From just before the start of the process until its end. */
  readonly ms: number
}

/** Calls a plugin as a runtime does: the CNI_* variables, the configuration on stdin, and nothing inherited but PATH. */
export async function runPlugin(call: PluginCall): Promise<PluginAnswer> {
  const input = inputOf(call)
  const started = performance.now()
  return answerOf(spawnPlugin(call, input), started)
}

/** A plugin that runs. */
export type PluginProcess = Bun.Subprocess<'pipe' | Uint8Array<ArrayBuffer>, 'pipe', 'pipe'>

/** Starts a plugin with this on stdin; with `pipe` it waits until the caller has written what `inputOf` gives. */
export function spawnPlugin(call: PluginCall, stdin: Uint8Array<ArrayBuffer>): PluginProcess
export function spawnPlugin(call: PluginCall, stdin: 'pipe'): Bun.Subprocess<'pipe', 'pipe', 'pipe'>
export function spawnPlugin(call: PluginCall, stdin: 'pipe' | Uint8Array<ArrayBuffer>): PluginProcess {
  const program = call.calledAs ? linkTo(call.program ?? BOWLINE, call.calledAs) : (call.program ?? BOWLINE)
  // Not by execa, which would add 2 to 20 ms of its own to the time.
  return Bun.spawn([...(call.inside ?? []), program], {
    stdin,
    stdout: 'pipe',
    stderr: 'pipe',
    env: environmentOf(call),
    timeout: call.timeoutMs ?? 60_000,
    killSignal: 'SIGKILL',
    ...(call.abort && { signal: call.abort }),
  })
}

/** What goes to stdin. */
export function inputOf({ config }: PluginCall): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(typeof config === 'string' ? config : JSON.stringify(config))
}

/** Waits until the plugin has ended. `started` is the time at its start, see `PluginAnswer.ms`. */
export async function answerOf(child: PluginProcess, started = performance.now()): Promise<PluginAnswer> {
  await child.exited
  const ms = performance.now() - started
  const [stdout = '', stderr = ''] = await Promise.all(
    [child.stdout, child.stderr].map((stream) => new Response(stream).text()),
  )
  return {
    exitCode: child.exitCode ?? undefined,
    signal: child.signalCode?.toString(),
    stdout,
    get output() {
      return JSON.parse(stdout || '{}') as PluginOutput
    },
    stderr,
    ms,
  }
}

/** The variables that a plugin sees, and no others. */
export function environmentOf(call: PluginCall): Record<string, string> {
  const env: Record<string, string | undefined> = {
    PATH: process.env['PATH'],
    CNI_COMMAND: call.command,
    CNI_CONTAINERID: call.containerId ?? '',
    CNI_NETNS: call.netns ?? '',
    CNI_IFNAME: call.ifName ?? 'eth0',
    CNI_ARGS: call.args ?? '',
    CNI_PATH: call.cniPath ?? join(CACHE, 'plugins'),
    ...call.env,
  }
  return Object.fromEntries(
    Object.entries(env).filter((pair): pair is [string, string] => pair[1] !== undefined),
  )
}

function linkTo(program: string, name: string): string {
  const path = join(mkdtempSync(join(tmpdir(), 'bowline-')), name)
  symlinkSync(program, path)
  return path
}

/** Fills a directory as a node's /opt/cni/bin is: our plugin under both of its names, and the reference plugins. */
export function fillPluginDirectory(directory: string, program = BOWLINE): void {
  linkReferencePlugins(directory)
  for (const name of OURS) symlinkSync(program, join(directory, name))
  if (!existsSync(program)) throw new Error(`${program} is missing: run scripts/setup build`)
}

/** Fills a directory with links to the reference plugins only, as on a node that has no network yet. */
export function linkReferencePlugins(directory: string): void {
  mkdirSync(directory, { recursive: true })
  const names = readdirSync(join(CACHE, 'plugins')).filter((name) => !OURS.includes(name))
  for (const name of names) symlinkSync(join(CACHE, 'plugins', name), join(directory, name))
}

const OURS = ['bowline', 'bowline-ipam']

export type PluginConfig = Record<string, unknown> & { readonly type: string }

export type Conflist = {
  readonly cniVersion: string
  readonly cniVersions?: readonly string[]
  readonly name: string
  readonly plugins: readonly PluginConfig[]
}

/** A network configuration list that we ship, such as `10-bowline`. */
export function readConflist(name: string): Conflist {
  return JSON.parse(
    readFileSync(resolve(import.meta.dirname, `../../../conf/${name}.conflist`), 'utf8'),
  ) as Conflist
}

/** What a runtime hands to the first plugin of a list. */
export function pluginConfigOf(
  { cniVersion, name, plugins: [first] }: Conflist,
  more: Record<string, unknown> = {},
): Record<string, unknown> {
  return { ...first, cniVersion, name, ...more }
}
