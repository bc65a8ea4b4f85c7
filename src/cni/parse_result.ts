import { type Mac, readMac } from '../core/mac.ts'
import { RESULT_RULE } from './config_schema.gen.ts'
import { presentDns } from './dns.ts'
import { assertNoRepeatedKeys } from './repeated_keys.ts'
import type { CniInterface, CniResult } from './result.ts'
import type { JsonResult } from './schema.ts'
import { applyRule, STRICT, type Tolerance } from './validate.ts'
import { parseVersion } from './versions.ts'

/** Repeated keys in a `prevResult` are the fault of the plugins and the runtime that made it: not an error here. */
const PASSED_ON: Tolerance = { ...STRICT, repeated: () => true }

/**
 * Reads a `prevResult` of any version; without one, it has that of the config. Throws a Fault: code 7 with the key path if
 * it is malformed, code 1 for an unsupported version. Unknown keys are no error.
 */
export function parseResult(json: unknown, configVersion: string): CniResult {
  return readResult(json, configVersion, 'prevResult', PASSED_ON)
}

/** Reads the result that another plugin printed. Refuses a repeated key: an address would be lost. */
export function parsePrinted(text: string, json: unknown, configVersion: string, type: string): CniResult {
  const where = `result of ${type}`
  assertNoRepeatedKeys(RESULT_RULE, text, json, where)
  return readResult(json, configVersion, where, STRICT)
}

function readResult(json: unknown, configVersion: string, where: string, tolerance: Tolerance): CniResult {
  const result = applyRule(RESULT_RULE, json, where, tolerance) as JsonResult
  parseVersion(result.cniVersion ?? configVersion, where)
  const oldest = [result.ip4, result.ip6].filter((ip) => ip !== undefined)
  const dns = presentDns(result.dns)
  return {
    interfaces: (result.interfaces ?? []).map(parseInterface),
    ips: [
      ...oldest.map(({ ip, gateway }) => ({ address: ip, ...(gateway && { gateway }) })),
      ...(result.ips ?? []),
    ],
    routes: [...oldest.flatMap(({ routes = [] }) => routes), ...(result.routes ?? [])],
    ...(dns && { dns }),
  }
}

/** Passes any MAC on, in canonical form if it has six bytes: an InfiniBand interface has more. */
function parseInterface(json: NonNullable<JsonResult['interfaces']>[number]): CniInterface {
  const { name = '', mac, mtu, sandbox, socketPath, pciID } = json
  return {
    name,
    ...(mac && { mac: readMac(mac) ?? (mac.toLowerCase() as Mac) }),
    ...(mtu && { mtu }),
    ...(sandbox && { sandbox }),
    ...(socketPath && { socketPath }),
    ...(pciID && { pciID }),
  }
}
