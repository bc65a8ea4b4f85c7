import { join } from 'node:path'
import type { PluginChoice } from './options.ts'

/** What a pod network is to be, whoever makes it. */
export type NetworkShape = {
  readonly masquerade: boolean
  readonly subnet4: string
  /** Without one, IPv4 only. */
  readonly subnet6?: string
}

/** A plugin in one of its modes: what is measured. */
export type Subject = {
  /** Short, for tables. */
  readonly name: string
  /** The executable, and the IPAM plugin that it starts, if it does not answer itself. */
  readonly programs: readonly [string, ...string[]]
  /** Where it finds the plugins that it delegates to. */
  readonly cniPath: string
  /** Its configuration of a network, without `cniVersion` and `name`; addresses are kept below `dataDir`. */
  readonly configOf: (shape: NetworkShape, dataDir: string) => Record<string, unknown>
}

/** What the ratios are to. */
export const REFERENCE = 'reference'
const BRIDGE = { bridge: 'cni0', isGateway: true }

/** Ours in both modes, the reference, and what was asked for beside them. `plugins` has the first three. */
export function subjectsOf(plugins: string, choices: readonly PluginChoice[]): Subject[] {
  const subject = (name: string, choice: PluginChoice, ipam: string): Subject => ({
    name,
    programs: [join(choice.directory, choice.type), ...(ipam === 'host-local' ? [join(plugins, ipam)] : [])],
    cniPath: `${choice.directory}:${plugins}`,
    configOf: (shape, dataDir) => ({
      type: choice.type,
      ...commonKeys(shape, ipam, dataDir),
      ...(fillIn(choice.keys, shape) as Record<string, unknown>),
    }),
  })
  const given = (type: string, keys: Record<string, unknown>) => ({ directory: plugins, type, keys })
  return [
    subject('l3', given('bowline', { mode: 'l3' }), 'bowline-ipam'),
    subject('l2', given('bowline', { mode: 'l2', ...BRIDGE }), 'bowline-ipam'),
    subject(REFERENCE, given('bridge', BRIDGE), 'host-local'),
    ...choices.map((choice, i) =>
      subject(
        i === 0 ? choice.type : `${choice.type} ${i + 1}`,
        { ...choice, keys: { ...BRIDGE, ...choice.keys } },
        'host-local',
      ),
    ),
  ]
}

function commonKeys({ masquerade, subnet4, subnet6 }: NetworkShape, ipam: string, dataDir: string) {
  const subnets = [subnet4, ...(subnet6 ? [subnet6] : [])]
  const routes = [{ dst: '0.0.0.0/0' }, ...(subnet6 ? [{ dst: '::/0' }] : [])]
  return {
    ...(masquerade && { ipMasq: true }),
    ipam: { type: ipam, dataDir, ranges: subnets.map((subnet) => [{ subnet }]), routes },
  }
}

/**
 * Puts what a network is to be in the place of `{subnet4}`, `{subnet6}` and `{masquerade}`. An entry of a list that is
 * `{subnet6}` is left out where there is none.
 */
export function fillIn(value: unknown, shape: NetworkShape): unknown {
  if (value === '{subnet4}') return shape.subnet4
  if (value === '{subnet6}') return shape.subnet6
  if (value === '{masquerade}') return shape.masquerade
  if (Array.isArray(value)) return value.map((one) => fillIn(one, shape)).filter((one) => one !== undefined)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, fillIn(one, shape)]))
}
