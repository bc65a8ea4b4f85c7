import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { BOWLINE, CACHE } from '../../test/support/plugin.ts'

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

/** Name and base of a contender that is a subject: all but the reference are measured by the reference. */
export function named(name: string): { readonly name: string; readonly base?: string } {
  return name === REFERENCE ? { name } : { name, base: REFERENCE }
}

const PLUGINS = join(CACHE, 'plugins')

/** Ours in both modes, the reference, and what was asked for beside them. */
export function subjects(choices: readonly PluginChoice[]): Subject[] {
  const all = [
    ours('l3', { mode: 'l3' }),
    ours('l2', { mode: 'l2', ...BRIDGE }),
    chosen(REFERENCE, { directory: PLUGINS, type: 'bridge', keys: {} }),
    ...choices.map((choice, i) => chosen(nameOfChoice(choice, i), choice)),
  ]
  const missing = all.find(({ program }) => !existsSync(program))
  if (missing) throw new Error(`there is no ${missing.program}: run scripts/setup bench, or correct --plugin`)
  return all
}

const BRIDGE = { bridge: 'cni0', isGateway: true }

function ours(name: string, keys: Record<string, unknown>): Subject {
  return {
    name,
    program: BOWLINE,
    cniPath: PLUGINS,
    configOf: (shape) => ({ type: 'bowline', ...keys, ...commonKeys(shape, 'bowline-ipam') }),
  }
}

/** The reference and its like: a bridge with host-local, unless the keys say something else. */
function chosen(name: string, { directory, type, keys }: PluginChoice): Subject {
  return {
    name,
    program: join(directory, type),
    cniPath: `${directory}:${PLUGINS}`,
    configOf: (shape) => ({
      type,
      ...BRIDGE,
      ...commonKeys(shape, 'host-local'),
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
