import type { Command, CommandContext, Options } from '../command.ts'
import { podsOfFormerRanges } from '../former_ranges.ts'
import { PLACE_OPTIONS, placesOf } from '../installation.ts'
import { readNetworks } from '../networks.ts'
import { viewNode } from '../node_view.ts'
import { columnsOf, flow, painter } from '../screen.ts'
import { checkHostPorts } from './check_host_ports.ts'
import { checkInstallation } from './check_installation.ts'
import { checkMesh } from './check_mesh.ts'
import { checked, checkNetwork } from './check_networks.ts'
import { checkAttachments, checkNode } from './check_node.ts'
import { type Finding, printFindings, warning } from './finding.ts'
import { checkKeys } from './unread_keys.ts'

/** Every name that a finding may have. */
const CHECKS = [
  'program',
  'selinux',
  'conflist',
  'keys',
  'kernel',
  'uplink',
  'status',
  'forwarding',
  'rp_filter',
  'bridge-netfilter',
  'firewall',
  'mtu',
  'overlap',
  'managed',
  'bridge',
  'nftables',
  'port',
  'host-port',
  'attachment',
  'former-range',
  'stale',
  'agent',
  'overlay',
  'mesh',
  'path-mtu',
]

export const DOCTOR: Command = {
  summary: 'find what stops pods on this node, and what mends it',
  options: PLACE_OPTIONS,
  examples: [
    ['bowline doctor', 'what is wrong; the exit code is 1 if anything is'],
    ['bowline doctor --json | jq -r ".findings[].hint"', 'the commands alone'],
  ],
  run: doctor,
}

function doctor(options: Options, context: CommandContext): number {
  const places = placesOf(options)
  const networks = readNetworks(places.confDir, context.files)
  const view = viewNode(context)
  const found = distinctFindings([
    ...checked('program', () => checkInstallation(context, places, networks)),
    ...networks.flatMap(checkKeys),
    ...checked('kernel', () => checkNode(context, networks, view)),
    ...networks.flatMap((network) =>
      checked('status', () => checkNetwork(context, network, view, places.binDir)),
    ),
    ...checked('attachment', () => checkAttachments(context, view)),
    ...checked('former-range', () =>
      podsOfFormerRanges(context.ports, networks, context.files).map(({ message, hint }) =>
        warning('former-range', message, hint),
      ),
    ),
    ...checked('host-port', () => checkHostPorts(context.ports.kernel.host(), view, context)),
    ...checked('agent', () => checkMesh(context)),
  ])
  const exitCode = found.some(({ level }) => level === 'error') ? 1 : 0
  if (options['json'] !== undefined) {
    context.print(JSON.stringify({ findings: found }))
    return exitCode
  }
  const paint = painter(context)
  const passed = CHECKS.filter((check) => !found.some((one) => one.check === check))
  const words = `${paint('green', '✓')} ${passed.length} of ${CHECKS.length} checks found nothing: ${passed.join(', ')}`
  const summary = flow(words.split(' '), ' ', columnsOf(context) - 2, '').join('\n  ')
  context.print([...printFindings(found, paint), ...(found.length > 0 ? [''] : []), summary].join('\n'))
  return exitCode
}

/** Two networks may suffer from the same, with more or less beside it. */
function distinctFindings(found: readonly Finding[]): Finding[] {
  const keys = found.map(({ check, message }) => `${check} ${message.replace(/ \(and \d+ more\)$/, '')}`)
  return found.filter((_, i) => keys.indexOf(keys[i] ?? '') === i)
}
