import { type Cidr, parseCidr } from '../core/address.ts'
import { Code, Fault, toFault } from '../core/errors.ts'
import { isObject } from '../core/json.ts'

/** How nodes reach the pods of other nodes. */
export type OverlayConfig = {
  readonly backend: (typeof BACKEND_NAMES)[number]
  /** VXLAN network identifier. */
  readonly vni: number
  /** UDP port of VXLAN. */
  readonly port: number
  /** The MTU of the underlay, in bytes. Left out: that of the link with the node's address. */
  readonly underlayMtu?: number
  /** UDP port of the probes between agents. */
  readonly probePort: number
  /** In this time a node measures one other node; 0: it measures none. */
  readonly probeIntervalMs: number
  /** Destinations beside the pods of the cluster that see a pod's own address. */
  readonly nonMasqueradeCIDRs: readonly Cidr[]
}

const BACKEND_NAMES = ['vxlan', 'direct', 'host-gw'] as const

/** The port is that of RFC 7348; other overlays and some hypervisors use it too, or 8472. */
const DEFAULTS: OverlayConfig = {
  backend: 'vxlan',
  vni: 4242,
  port: 4789,
  probePort: 19475,
  probeIntervalMs: 5000,
  nonMasqueradeCIDRs: [],
}

/** IPv6 in VXLAN over IPv6 needs 70 bytes more than its own least MTU, which is 1280. */
const NUMBERS = {
  vni: [1, 0xffffff],
  port: [1, 65535],
  underlayMtu: [1350, 65535],
  probePort: [1, 65535],
  probeIntervalMs: [0, 600_000],
} as const
const KEYS = ['backend', 'nonMasqueradeCIDRs', ...Object.keys(NUMBERS)]

/**
 * Reads the configuration: a JSON object, in which every key may be left out. Throws a Fault (invalid config) that names the first mistake.
 * By hand and not by zod, which costs every node 4.7 MB of private memory.
 */
export function readOverlayConfig(text: string): OverlayConfig {
  const given = parse(text)
  const unknown = Object.keys(given).find((key) => !KEYS.includes(key))
  if (unknown !== undefined) throw invalid(unknown, `is no key; there are ${KEYS.join(', ')}`)
  const { backend = DEFAULTS.backend } = given
  if (!BACKEND_NAMES.some((one) => one === backend)) {
    throw invalid('backend', `is none of ${BACKEND_NAMES.join(', ')}`)
  }
  for (const [key, [least, most]] of Object.entries(NUMBERS)) {
    const value = given[key]
    if (value === undefined) continue
    if (!Number.isInteger(value) || Number(value) < least || Number(value) > most) {
      throw invalid(key, `is no whole number from ${least} to ${most}`)
    }
  }
  const nonMasqueradeCIDRs = parseCidrs('nonMasqueradeCIDRs', given['nonMasqueradeCIDRs'] ?? [])
  return { ...DEFAULTS, ...given, nonMasqueradeCIDRs } as OverlayConfig
}

function parseCidrs(key: string, given: unknown): Cidr[] {
  if (!Array.isArray(given)) throw invalid(key, 'is no list')
  return given.map((text) => {
    try {
      return parseCidr(String(text))
    } catch (error) {
      throw invalid(key, `has an invalid item: ${toFault(error).message}`)
    }
  })
}

function parse(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text)
    if (isObject(value)) return value
  } catch (error) {
    throw invalid('the text', (error as Error).message)
  }
  throw invalid('the text', 'is no JSON object')
}

function invalid(subject: string, why: string): Fault {
  return new Fault(`the configuration of the overlay is not valid: ${subject} ${why}`, {
    code: Code.invalidConfig,
    hint: 'Correct overlay.json in the ConfigMap; until then the last valid one stays in force.',
  })
}
