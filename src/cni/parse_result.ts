import { parseAddress, parseCidr } from '../core/address.ts'
import { type Mac, readMac } from '../core/mac.ts'
import { RESULT_RULE } from './config_schema.gen.ts'
import { presentDns } from './dns.ts'
import { assertNoRepeatedKeys } from './repeated_keys.ts'
import type { CniInterface, CniIp, CniResult, CniRoute } from './result.ts'
import type { JsonResult } from './schema.ts'
import { applyRule, STRICT, type Tolerance } from './validate.ts'
import { parseVersion } from './versions.ts'

type JsonFamilyIp = NonNullable<JsonResult['ip4']>
type JsonRoute = NonNullable<JsonResult['routes']>[number]

/** Keys that stand twice in a `prevResult` are for those who made it and passed it on. */
const PASSED_ON: Tolerance = { ...STRICT, repeated: () => true }

/**
 * Reads a `prevResult` of any version. Where it names no version it has that of the config. Throws a Fault: code 7 with
 * the key path if it is malformed, code 1 for a version that we don't speak. Unknown keys are no error.
 */
export function parseResult(json: unknown, configVersion: string): CniResult {
  return readResult(json, configVersion, 'prevResult', PASSED_ON)
}

/** The same for what another plugin has printed, in which no key may stand twice: an address would be lost. */
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
    ips: [...oldest.map(parseFamilyIp), ...(result.ips ?? []).map(parseIp)],
    routes: [...oldest.flatMap(({ routes = [] }) => routes), ...(result.routes ?? [])].map(parseRoute),
    ...(dns && { dns }),
  }
}

/** Any MAC is passed on, in the canonical form if it has six bytes: an InfiniBand interface has more. */
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

function parseIp({ address, gateway, interface: index }: NonNullable<JsonResult['ips']>[number]): CniIp {
  return {
    address: parseCidr(address),
    ...(gateway && { gateway: parseAddress(gateway) }),
    ...(index !== undefined && { interface: index }),
  }
}

function parseFamilyIp({ ip, gateway }: JsonFamilyIp): CniIp {
  return { address: parseCidr(ip), ...(gateway && { gateway: parseAddress(gateway) }) }
}

function parseRoute({ dst, gw, mtu, advmss, priority, table, scope }: JsonRoute): CniRoute {
  return {
    dst: parseCidr(dst),
    ...(gw && { gw: parseAddress(gw) }),
    ...(mtu && { mtu }),
    ...(advmss && { advmss }),
    ...(priority && { priority }),
    ...(table !== undefined && { table }),
    ...(scope !== undefined && { scope }),
  }
}
