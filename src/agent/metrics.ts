/*
 * Metrics in the text format of Prometheus. Source: prometheus.io/docs/instrumenting/exposition_formats, version 0.0.4.
 */

type Kind = 'counter' | 'gauge'
type Labels = Readonly<Record<string, string>>
type Family = {
  readonly kind: Kind
  readonly help: string
  readonly values: Map<string, number>
  read?: () => readonly Sample[]
}

/** A value, and which one of its family it is. */
export type Sample = readonly [labels: Labels, value: number]

export type Metrics = {
  /** Adds to a counter. */
  count(name: CounterName, labels?: Labels, by?: number): void
  /** Sets a gauge, or a counter that is kept elsewhere. */
  set(name: GaugeName | CounterName, value: number, labels?: Labels): void
  /** Lets a gauge be read anew whenever the metrics are printed. */
  observe(name: GaugeName, read: () => readonly Sample[]): void
  print(): string
}

const COUNTERS = {
  bowline_agent_installs_total: 'Installations on this node, by their result.',
  bowline_agent_api_failures_total: 'Requests to the API server that failed, by reason.',
  bowline_agent_gc_runs_total: 'Searches for what pods have left that are gone, by their result.',
  bowline_agent_gc_removed_total: 'Leftovers of pods that were removed.',
  bowline_agent_restored_total: 'Rules that pods share and somebody had removed.',
  bowline_agent_overlay_changes_total: 'Objects of the overlay that were missing, wrong or stale.',
  bowline_agent_overlay_failures_total: 'Objects of the overlay that the kernel has refused.',
  bowline_mesh_packets_total:
    'Packets at the port of the probes: answers to this node, requests it has answered, and what was ignored.',
  process_cpu_seconds_total: 'Processor time of the agent.',
} as const

const GAUGES = {
  bowline_agent_info: 'The version of the agent, and its node.',
  bowline_agent_ready:
    'Whether pods of this node get a network: the plugin is installed and its STATUS passes.',
  bowline_agent_pod_cidrs: 'The subnets that this node has for its pods.',
  bowline_agent_former_range_pods:
    'Pods of this node with addresses that are in none of its ranges any more.',
  bowline_agent_clock_skew_seconds: "How far the API server's clock is ahead of this node's.",
  bowline_agent_overlay_routes: 'Ranges of pods of other nodes that this node has a route to.',
  bowline_agent_overlay_unreachable: 'Ranges of pods of other nodes that this node cannot reach.',
  bowline_agent_overlay_checksum_offload:
    'Whether a VXLAN link leaves checksums to the device: 0 if the configuration says so, or if packets get lost by it.',
  bowline_mesh_peers: 'Other nodes, by what this one has measured of them.',
  bowline_mesh_peer_reachable:
    'Whether probes are answered: 1, or 0 for silence and for a node without an agent.',
  bowline_mesh_peer_rtt_seconds: 'Round trip of probes, smoothed.',
  bowline_mesh_peer_loss_ratio: 'Share of the last 16 probes that got no answer.',
  bowline_mesh_peer_mtu_bytes: 'The largest packet that has arrived.',
  process_resident_memory_bytes: 'Memory of the agent, with the shared pages of its program.',
  process_start_time_seconds: 'When the agent was started, in Unix time.',
} as const

type CounterName = keyof typeof COUNTERS
type GaugeName = keyof typeof GAUGES

export function createMetrics(): Metrics {
  const families = new Map<string, Family>([
    ...Object.entries(COUNTERS).map(([name, help]) => family(name, 'counter', help)),
    ...Object.entries(GAUGES).map(([name, help]) => family(name, 'gauge', help)),
  ])
  const valuesOf = (name: string) => families.get(name)?.values ?? new Map<string, number>()
  return {
    count(name, labels = {}, by = 1) {
      const [values, key] = [valuesOf(name), labelText(labels)]
      values.set(key, (values.get(key) ?? 0) + by)
    },
    set: (name, value, labels = {}) => void valuesOf(name).set(labelText(labels), value),
    observe(name, read) {
      const one = families.get(name)
      if (one) one.read = read
    },
    print: () => [...families].map(([name, one]) => printFamily(name, one)).join(''),
  }
}

function family(name: string, kind: Kind, help: string): [string, Family] {
  return [name, { kind, help, values: new Map() }]
}

function printFamily(name: string, { kind, help, values, read }: Family): string {
  if (read) {
    values.clear()
    for (const [labels, value] of read()) values.set(labelText(labels), value)
  }
  if (values.size === 0) return ''
  const lines = [...values].map(([labels, value]) => `${name}${labels} ${value}\n`)
  return `# HELP ${name} ${help}\n# TYPE ${name} ${kind}\n${lines.join('')}`
}

function labelText(labels: Labels): string {
  const pairs = Object.entries(labels).map(([key, value]) => `${key}=${JSON.stringify(value)}`)
  return pairs.length > 0 ? `{${pairs.join()}}` : ''
}
