import { formatCidr } from '../core/address.ts'
import { Fault } from '../core/errors.ts'
import { VERSION } from '../core/version.ts'
import type { Command, CommandContext, Options } from './command.ts'
import { checkInstallation } from './doctor/check_installation.ts'
import { printFindings } from './doctor/finding.ts'
import { PLACE_OPTIONS, placesOf } from './installation.ts'
import { type NetworkFile, readNetworks } from './networks.ts'
import { drifted, type NodeView, podName, stale, viewNode } from './node_view.ts'
import { formatCount, heldOf, type PoolUsage, plainPool, poolUsage } from './pool_usage.ts'
import { bar, columnsOf, counted, type Paint, painter, table } from './screen.ts'

const BAR_LENGTH = 12
const FEATURES = {
  nftables: 'nftables',
  ipv4Forwarding: 'IPv4 forwarding',
  ipv6: 'IPv6',
  ipv6Forwarding: 'IPv6 forwarding',
  bridgeNetfilter: 'bridge netfilter',
} as const
/** How many attachments with drift are shown. */
const MAX_SHOWN = 5

export const STATUS: Command = {
  summary: 'show the node on one screen: kernel, networks, pods, drift',
  options: PLACE_OPTIONS,
  examples: [
    ['bowline status', 'at a glance'],
    ['bowline status --json | jq .networks', 'for programs'],
  ],
  run: status,
}

function status(options: Options, context: CommandContext): number {
  const places = placesOf(options)
  const all = readNetworks(places.confDir, context.files)
  const view = viewNode(context)
  const networks = summaries(context, all, view)
  const features = kernelFeatures(context)
  const findings = checkInstallation(context, places, all)
  const drift = drifted(view).map(({ record, drift }) => ({
    network: record.network,
    pod: podName(context.files, record),
    ifName: record.ifName,
    drift,
  }))
  const attachments = { total: view.attachments.length, drifted: drift.length, stale: stale(view).length }
  const kernel = context.files.readForeign('/proc/sys/kernel/osrelease')?.trim() ?? ''
  const node = context.machine.hostname()
  if (options['json'] !== undefined) {
    const plain = networks.map(({ name, pools, ...more }) => ({
      network: name,
      ...more,
      pools: pools.map(plainPool),
    }))
    context.print(
      JSON.stringify({
        version: VERSION,
        node,
        kernel,
        features,
        networks: plain,
        attachments,
        drift,
        findings,
      }),
    )
    return 0
  }
  const paint = painter(context)
  context.print(
    [
      `${paint('bold', `bowline ${VERSION}`)} on ${node}, Linux ${kernel}`,
      Object.entries(FEATURES)
        .map(([key, name]) => `${features[key as Feature] ? paint('green', '✓') : paint('dim', '–')} ${name}`)
        .join('   '),
      '',
      ...(networks.length > 0 ? networkTable(networks, paint, columnsOf(context)) : ['No network.']),
      '',
      ...attachmentLines(attachments, view, drift, paint),
      ...(findings.length > 0 ? ['', ...printFindings(findings, paint)] : []),
    ].join('\n'),
  )
  return 0
}

type Summary = {
  readonly name: string
  readonly mode: string
  readonly pods: number
  readonly pools: readonly PoolUsage[]
  readonly file?: string
}

/** Networks of ours, and those of which only attachments are left. */
function summaries(context: CommandContext, all: readonly NetworkFile[], view: NodeView): Summary[] {
  const own = all.filter(({ config }) => config)
  const records = view.attachments.map(({ record }) => record)
  const left = [...new Set(records.map(({ network }) => network))].filter(
    (name) => !own.some((one) => one.name === name),
  )
  const podsOf = (name: string) => records.filter(({ network }) => network === name).length
  return [
    ...own.map((network) => ({
      name: network.name,
      mode: network.config?.mode ?? 'l2',
      pods: podsOf(network.name),
      pools: poolUsage(context, network, view),
      file: network.file,
    })),
    ...left.map((name) => {
      const mode = records.find(({ network }) => network === name)?.mode ?? 'ipam'
      return { name, mode, pods: podsOf(name), pools: [] }
    }),
  ]
}

function networkTable(networks: readonly Summary[], paint: Paint, columns: number): string[] {
  const rows = networks.flatMap(({ name, mode, pods, pools, file = '(no conflist)' }) => {
    const first = [paint('bold', name), mode, String(pods)]
    const usage = pools.length > 0 ? pools.map((pool) => poolCells(pool, paint)) : [['', '', '']]
    return usage.map((cells, i) => [...(i === 0 ? first : ['', '', '']), ...cells, i === 0 ? file : ''])
  })
  return table(paint, ['NETWORK', 'MODE', '>PODS', 'RANGE', 'USED', '', 'FILE'], rows, columns)
}

function poolCells(pool: PoolUsage, paint: Paint): string[] {
  const held = heldOf(pool)
  const part = Number((BigInt(held) * 10_000n) / (pool.total || 1n)) / 10_000
  const style = part >= 0.95 ? 'red' : part >= 0.8 ? 'yellow' : 'green'
  return [rangeText(pool), paint(style, bar(part, BAR_LENGTH)), `${held} of ${formatCount(pool.total)}`]
}

function rangeText({ set }: PoolUsage): string {
  return set.ranges.map(({ subnet }) => formatCidr(subnet)).join(',')
}

function attachmentLines(
  { total, stale: gone }: { readonly total: number; readonly stale: number },
  { damaged, unread, newer }: NodeView,
  drift: readonly { readonly pod: string; readonly ifName: string; readonly drift: readonly string[] }[],
  paint: Paint,
): string[] {
  const count = counted(total, 'attachment')
  const fine = gone + damaged.length + unread.length + newer + drift.length === 0
  if (fine)
    return [
      `${paint('green', '✓')} ${total === 0 ? 'no attachments' : `${count} as ADD left ${total === 1 ? 'it' : 'them'}`}`,
    ]
  const rest = drift.length > MAX_SHOWN ? [`    … and ${drift.length - MAX_SHOWN} more`] : []
  return [
    `${count}:`,
    ...(drift.length > 0
      ? [`${paint('red', '✗')} ${drift.length} not as ADD left them: ${paint('cyan', 'bowline repair')}`]
      : []),
    ...drift.slice(0, MAX_SHOWN).map((one) => `    ${one.pod} ${one.ifName}: ${one.drift.join('; ')}`),
    ...rest,
    ...(newer > 0
      ? [
          `${paint('yellow', '!')} ${counted(newer, 'record')} of a later release: ${paint('cyan', 'bowline doctor')}`,
        ]
      : []),
    ...(unread.length > 0
      ? [
          `${paint('yellow', '!')} ${counted(unread.length, 'record')} of running pods cannot be read: ${paint('cyan', 'bowline doctor')}`,
        ]
      : []),
    ...(gone > 0
      ? [
          `${paint('yellow', '!')} ${counted(gone, 'attachment')} of pods that are gone: ${paint('cyan', 'bowline gc')}`,
        ]
      : []),
    ...(damaged.length > 0
      ? [
          `${paint('yellow', '!')} ${counted(damaged.length, 'record')} that cannot be read: ${paint('cyan', 'bowline gc')}`,
        ]
      : []),
  ]
}

type Feature = keyof typeof FEATURES

/** What the kernel has and does, as far as pods need it. */
export function kernelFeatures({ ports: { kernel } }: CommandContext): Readonly<Record<Feature, boolean>> {
  const is = (key: string, value: string) => kernel.host().readSysctl(key) === value
  return {
    nftables: hasNft(kernel),
    ipv4Forwarding: is('ipv4/ip_forward', '1'),
    ipv6: is('ipv6/conf/all/disable_ipv6', '0'),
    ipv6Forwarding: is('ipv6/conf/all/forwarding', '1'),
    bridgeNetfilter: is('bridge/bridge-nf-call-iptables', '1'),
  }
}

function hasNft(kernel: CommandContext['ports']['kernel']): boolean {
  try {
    kernel.nftables.probe()
    return true
  } catch (error) {
    if (!(error instanceof Fault)) throw error
    return false
  }
}
