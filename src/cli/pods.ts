import { parseAddress, sameAddress } from '../core/address.ts'
import type { Files } from '../core/files.ts'
import { deriveNames } from '../core/names.ts'
import type { Command, CommandContext, Options } from './command.ts'
import { type AttachmentView, podName, viewNode } from './node_view.ts'
import { age, bytes, columnsOf, painter, table } from './screen.ts'

export const PODS: Command = {
  summary: 'list pods with address, interface, age and counters',
  words: ['[NAME]'],
  options: {},
  examples: [
    ['bowline pods', 'all of this node'],
    ['bowline pods web', 'those with "web" in the name, the container or an address'],
    ['bowline pods --json | jq -r ".pods[] | select(.state != \\"ok\\") | .pod"', 'for programs'],
  ],
  run: pods,
}

function pods(options: Options, context: CommandContext): number {
  const { files, machine, recordsDir } = context
  const counters = readCounters(files)
  const rows = viewNode(context)
    .attachments.map(({ record, link, stale, drift }) => {
      const since = machine.modified(`${recordsDir}/${record.network}/${deriveNames(record).key}`)
      const found = counters.get(link?.name ?? '')
      return {
        pod: podName(files, record),
        network: record.network,
        containerId: record.containerId,
        ifName: record.ifName,
        addresses: addressesOf(record),
        hostPorts: record.hostPorts?.ports ?? [],
        hostIfName: link?.name ?? record.hostIfName ?? '',
        ageMs: since === undefined ? undefined : Math.max(0, Math.round(machine.now() - since)),
        // What the host's end sends, the pod receives.
        receivedBytes: found?.sent ?? 0,
        sentBytes: found?.received ?? 0,
        state: stale ?? (drift.length > 0 ? drift.join('; ') : 'ok'),
      }
    })
    .filter((row) => isMeant(row, options['NAME'] ?? ''))
    .sort((a, b) => (a.pod < b.pod ? -1 : 1))
  if (options['json'] !== undefined) {
    context.print(JSON.stringify({ pods: rows }))
    return 0
  }
  const paint = painter(context)
  const wanted = options['NAME']
  const none =
    wanted === undefined
      ? 'No pods.'
      : `No pod has ${JSON.stringify(wanted)} in its name or container, or as its address.`
  const havePorts = rows.some(({ hostPorts }) => hostPorts.length > 0)
  const headings = ['POD', 'NETWORK', 'ADDRESS', ...(havePorts ? ['PORTS'] : []), 'INTERFACE']
  const lines = table(
    paint,
    [...headings, '>AGE', '>RECEIVED', '>SENT', 'STATE'],
    rows.map((row) => [
      paint('bold', row.pod),
      row.network,
      row.addresses.join(' ') || '–',
      ...(havePorts ? [row.hostPorts.join(' ') || '–'] : []),
      row.hostIfName,
      row.ageMs === undefined ? '–' : age(row.ageMs),
      bytes(row.receivedBytes),
      bytes(row.sentBytes),
      row.state === 'ok' ? paint('green', 'ok') : paint('red', row.state),
    ]),
    columnsOf(context),
  )
  context.print(rows.length > 0 ? lines.join('\n') : none)
  return 0
}

function isMeant(
  row: { pod: string; containerId: string; addresses: readonly string[] },
  wanted: string,
): boolean {
  return (
    [row.pod, row.containerId].some((one) => one.includes(wanted)) ||
    row.addresses.some((one) => isSame(one, wanted))
  )
}

function isSame(address: string, text: string): boolean {
  try {
    return sameAddress(parseAddress(address), parseAddress(text))
  } catch {
    return false
  }
}

function addressesOf({ leases, masquerade, chained }: AttachmentView['record']): readonly string[] {
  return leases?.addresses ?? chained?.addresses ?? masquerade?.map((cidr) => cidr.replace(/\/.*/, '')) ?? []
}

/** Bytes by interface. Source: Documentation/filesystems/proc.rst, /proc/net/dev. */
function readCounters(files: Files): Map<string, { received: number; sent: number }> {
  const lines = (files.readForeign('/proc/net/dev') ?? '').split('\n').slice(2).filter(Boolean)
  return new Map(
    lines.map((line) => {
      const [name = '', numbers = ''] = line.trim().split(/:\s*/)
      const counts = numbers.split(/\s+/).map(Number)
      return [name, { received: counts[0] ?? 0, sent: counts[8] ?? 0 }]
    }),
  )
}
