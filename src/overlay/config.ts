import { applyRule, canonicalKey } from '../cni/validate.ts'
import { Code, Fault, toFault } from '../core/errors.ts'
import { isObject } from '../core/json.ts'
import { OVERLAY_DEFAULTS, OVERLAY_RULE } from './config_schema.gen.ts'
import type { OverlayConfig } from './schema.ts'

export type { OverlayConfig }

/**
 * Reads the configuration: a JSON object, in which every key may be left out. Throws a Fault (invalid config) that names the first mistake;
 * a key that is none is one, since it would be without effect.
 */
export function readOverlayConfig(text: string): OverlayConfig {
  const given = parse(text)
  const { keys = {} } = OVERLAY_RULE
  const unknown = Object.keys(given).find((key) => canonicalKey(keys, key) === undefined)
  if (unknown !== undefined)
    throw invalid(`"${unknown}" is no key; there are ${Object.keys(keys).join(', ')}`)
  const config = { ...OVERLAY_DEFAULTS, ...valuesOf(given) }
  if (config.port === config.probePort)
    throw invalid(`key "probePort": ${config.probePort} is the "port" of VXLAN; give it another`)
  return config
}

function valuesOf(given: Readonly<Record<string, unknown>>): OverlayConfig {
  try {
    return applyRule(OVERLAY_RULE, given, '') as OverlayConfig
  } catch (error) {
    throw invalid(toFault(error).message)
  }
}

function parse(text: string): Readonly<Record<string, unknown>> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw invalid((error as Error).message)
  }
  if (isObject(value)) return value
  throw invalid('it is no JSON object')
}

function invalid(why: string): Fault {
  return new Fault(`overlay.json is not valid: ${why}`, {
    code: Code.invalidConfig,
    hint: 'Correct it: kubectl -n kube-system edit configmap bowline. Until then the last valid one stays in force.',
  })
}
