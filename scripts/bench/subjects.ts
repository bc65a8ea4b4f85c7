import { join } from 'node:path'
import type { PluginChoice } from './options.ts'

/** The network of a measurement. */
export type NetworkShape = {
  readonly masquerade: boolean
  readonly subnet4: string
  /** IPv4 only without it. */
  readonly subnet6?: string
}

/** A plugin in one of its modes. */
export type Subject = {
  /** Short, for tables. */
  readonly name: string
  /** The executable, and the IPAM plugin that it starts, if it does not answer itself. */
  readonly programs: readonly [string, ...string[]]
  readonly cniPath: string
  /** Returns its configuration of a network, without `cniVersion` and `name`. Leases are kept below `dataDir`. */
  readonly configOf: (shape: NetworkShape, dataDir: string) => Record<string, unknown>
}

/** The subject that the ratios are to. */
export const REFERENCE = 'reference'
const BRIDGE = { bridge: 'cni0', isGateway: true }

/** Returns ours in both modes, the reference, and the plugins that were asked for. The first three are in `plugins`. */
export function subjectsOf(plugins: string, choices: readonly PluginChoice[]): Subject[] {
  const subject = (name: string, { directory, type }: PluginChoice, ipam: string, keys: object): Subject => ({
    name,
    programs: [join(directory, type), ...(ipam === 'host-local' ? [join(plugins, ipam)] : [])],
    cniPath: `${directory}:${plugins}`,
    configOf: ({ masquerade, subnet4, subnet6 }, dataDir) => ({
      type,
      ...keys,
      ...(masquerade && { ipMasq: true }),
      ipam: {
        type: ipam,
        dataDir,
        ranges: [subnet4, ...(subnet6 ? [subnet6] : [])].map((subnet) => [{ subnet }]),
        routes: [{ dst: '0.0.0.0/0' }, ...(subnet6 ? [{ dst: '::/0' }] : [])],
      },
    }),
  })
  const ours = { directory: plugins, type: 'bowline' }
  return [
    subject('l3', ours, 'bowline-ipam', { mode: 'l3' }),
    subject('l2', ours, 'bowline-ipam', { mode: 'l2', ...BRIDGE }),
    subject(REFERENCE, { directory: plugins, type: 'bridge' }, 'host-local', BRIDGE),
    ...choices.map((choice, i) =>
      subject(i === 0 ? choice.type : `${choice.type} ${i + 1}`, choice, 'host-local', BRIDGE),
    ),
  ]
}
