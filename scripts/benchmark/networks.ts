import { existsSync, mkdirSync, renameSync, symlinkSync } from 'node:fs'
import { basename, join } from 'node:path'
import { quote } from '../../src/core/shell.ts'
import { BOWLINE, CACHE } from '../../test/support/plugin.ts'
import { run } from '../../test/support/private_namespaces.ts'
import { installExecutable } from '../executable.ts'

/** What a pod network is to be, whoever makes it. */
export type NetworkShape = {
  readonly masquerade: boolean
  /** Without a subnet6, IPv4 only. */
  readonly subnet4: string
  readonly subnet6?: string
}

/** A plugin in one of its modes: what is measured. */
export type Subject = {
  /** Short, for tables. */
  readonly name: string
  /** The executable. */
  readonly program: string
  /** Where it finds the plugins that it delegates to. */
  readonly cniPath: string
  /** Its configuration of a network, without `cniVersion` and `name`. */
  readonly configOf: (shape: NetworkShape) => Record<string, unknown>
}

/** A plugin that the reader wants to see beside ours. */
export type PluginChoice = {
  readonly directory: string
  readonly type: string
  /** Keys that are added to the configuration, or replace what is there. */
  readonly keys: Readonly<Record<string, unknown>>
}

/** What the ratios are to. */
export const REFERENCE = 'reference'

/** Ours in both modes, the reference, and what was asked for beside them. `programs` has the first three. */
export function subjects(programs: string, choices: readonly PluginChoice[]): Subject[] {
  const ours = (name: string, keys: Record<string, unknown>) =>
    subject(name, { directory: programs, type: 'bowline', keys }, 'bowline-ipam', programs)
  return [
    ours('l3', { mode: 'l3' }),
    ours('l2', { mode: 'l2', ...BRIDGE }),
    subject(REFERENCE, { directory: programs, type: 'bridge', keys: BRIDGE }, 'host-local', programs),
    ...choices.map((choice, i) =>
      subject(
        nameOfChoice(choice, i),
        { ...choice, keys: { ...BRIDGE, ...choice.keys } },
        'host-local',
        programs,
      ),
    ),
  ]
}

/**
 * Copies ours and the reference plugins into a directory, as an installation on a node does: so the files are in the
 * page cache, and none of them in a worse state than another. Done anew before each experiment, since a cache that is
 * under pressure gives them up piece by piece. Throws when there is nothing to copy.
 */
export function installPrograms(directory: string): void {
  mkdirSync(directory, { recursive: true })
  for (const path of [BOWLINE, join(CACHE, 'plugins/bridge'), join(CACHE, 'plugins/host-local')]) {
    if (!existsSync(path)) throw new Error(`there is no ${path}: run scripts/setup bench`)
    installAnew(path, join(directory, basename(path)))
  }
  const link = join(directory, 'bowline-ipam')
  if (!existsSync(link)) symlinkSync('bowline', link)
}

/** Installs a program, also in the place of one that runs. */
export function installAnew(from: string, to: string): void {
  installExecutable(from, `${to}.new`)
  // Pages that wait to be written would count as the memory of whoever maps them.
  run(`sync ${quote(`${to}.new`)}`)
  renameSync(`${to}.new`, to)
}

const BRIDGE = { bridge: 'cni0', isGateway: true }

function subject(
  name: string,
  { directory, type, keys }: PluginChoice,
  ipam: string,
  programs: string,
): Subject {
  return {
    name,
    program: join(directory, type),
    cniPath: directory === programs ? programs : `${directory}:${programs}`,
    configOf: (shape) => ({
      type,
      ...commonKeys(shape, ipam),
      ...(fillIn(keys, shape) as Record<string, unknown>),
    }),
  }
}

function commonKeys({ masquerade, subnet4, subnet6 }: NetworkShape, ipam: string): Record<string, unknown> {
  const subnets = [subnet4, ...(subnet6 ? [subnet6] : [])]
  const routes = [{ dst: '0.0.0.0/0' }, ...(subnet6 ? [{ dst: '::/0' }] : [])]
  return {
    ...(masquerade && { ipMasq: true }),
    ipam: { type: ipam, ranges: subnets.map((subnet) => [{ subnet }]), routes },
  }
}

/**
 * The words `{subnet4}`, `{subnet6}` and `{masquerade}` in a reader's keys stand for what the network is to be. An
 * entry of a list that is `{subnet6}` is left out where there is none.
 */
export function fillIn(value: unknown, shape: NetworkShape): unknown {
  if (value === '{subnet4}') return shape.subnet4
  if (value === '{subnet6}') return shape.subnet6
  if (value === '{masquerade}') return shape.masquerade
  if (Array.isArray(value)) return value.map((one) => fillIn(one, shape)).filter((one) => one !== undefined)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, fillIn(one, shape)]))
}

function nameOfChoice({ type }: PluginChoice, index: number): string {
  return index === 0 ? type : `${type} ${index + 1}`
}
