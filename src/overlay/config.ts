import * as z from 'zod'
import { Code, Fault } from '../core/errors.ts'

/** The configuration of the overlay: a JSON object, in which every key may be left out. */
const SCHEMA = z.strictObject({
  backend: z.enum(['vxlan', 'direct', 'host-gw']).default('vxlan'),
  /** VXLAN network identifier, 24 bits. */
  vni: z.int().min(1).max(0xffffff).default(4242),
  /** UDP port of VXLAN: that of RFC 7348. Other overlays and some hypervisors use it too, or 8472. */
  port: z.int().min(1).max(65535).default(4789),
  /** The MTU of the underlay, in bytes. Left out: that of the link with the node's address. */
  underlayMtu: z.int().min(1350).max(65535).optional(),
})

export type OverlayConfig = z.output<typeof SCHEMA>

/** Reads the configuration. Throws a Fault (invalid config) that names the first mistake. */
export function readOverlayConfig(text: string): OverlayConfig {
  const outcome = SCHEMA.safeParse(parse(text))
  if (outcome.success) return outcome.data
  const [issue] = outcome.error.issues
  throw invalid(`${issue?.path.join('.') || 'the object'}: ${issue?.message}`)
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw invalid((error as Error).message)
  }
}

function invalid(why: string): Fault {
  return new Fault(`the configuration of the overlay is not valid: ${why}`, {
    code: Code.invalidConfig,
    hint: 'Correct overlay.json in the ConfigMap; until then the last valid one stays in force.',
  })
}
