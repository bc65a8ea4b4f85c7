import { type Family, formatAddress, formatCidr } from '../core/address.ts'
import { Code, Fault } from '../core/errors.ts'
import type { CniDns, CniInterface, CniIp, CniResult, CniRoute } from './result.ts'
import { type CniVersion, isAtLeast } from './versions.ts'

/**
 * Returns the JSON of a result in the given version. Before 0.3.0 a result has no interfaces and one address of each
 * family, so the rest is left out. Throws what `assertPrintable` throws. Source: CNI specification, section 5, and
 * what the reference prints.
 */
export function printResult(result: CniResult, version: CniVersion): string {
  assertPrintable(result, version)
  const body = isAtLeast(version, '0.3.0') ? printCurrent(result, version) : printOldest(result)
  return JSON.stringify({ cniVersion: version, ...body })
}

/**
 * Throws a Fault (code 7) if the version has no form for a result with these addresses. Only the addresses decide, so ADD
 * asks before it changes anything.
 */
export function assertPrintable({ ips }: Pick<CniResult, 'ips'>, version: CniVersion): void {
  if (ips.length > 0 || isAtLeast(version, '0.3.0')) return
  throw new Fault('cannot convert: no valid IP addresses', {
    code: Code.invalidConfig,
    hint: `CNI ${version} has no result without addresses: set "cniVersion" to "0.3.0" or later, or set "ipam".`,
  })
}

/**
 * Throws a Fault (code 7) if the version has no room for one address of each range set, given by their families. A result
 * of another plugin that has more addresses of a family is printed with the first, as the reference does.
 */
export function assertSetsPrintable(families: readonly Family[], version: CniVersion): void {
  if (new Set(families).size === families.length || isAtLeast(version, '0.3.0')) return
  throw new Fault(`CNI ${version} has room for one address of each family, and "ipam.ranges" has more sets`, {
    code: Code.invalidConfig,
    hint: 'Set "cniVersion" to "0.3.0" or later, or give each family one range set.',
  })
}

function printCurrent({ interfaces, ips, routes, dns }: CniResult, version: CniVersion): object {
  const is1 = isAtLeast(version, '1.0.0')
  const printedDns = printDns(dns)
  return {
    interfaces: orNone(interfaces.map((one) => printInterface(one, is1))),
    ips: orNone(
      ips.map((ip) => (is1 ? printIp(ip) : { version: String(ip.address.address.family), ...printIp(ip) })),
    ),
    routes: orNone(routes.map(printRoute)),
    dns: is1 && Object.keys(printedDns).length === 0 ? undefined : printedDns,
  }
}

function printOldest({ ips, routes, dns }: CniResult): object {
  return { ip4: printFamily(4, ips, routes), ip6: printFamily(6, ips, routes), dns: printDns(dns) }
}

function printFamily(family: Family, ips: readonly CniIp[], routes: readonly CniRoute[]): object | undefined {
  const ip = ips.find(({ address }) => address.address.family === family)
  if (!ip) return undefined
  const own = routes.filter(({ dst }) => dst.address.family === family)
  return {
    ip: formatCidr(ip.address),
    gateway: ip.gateway && formatAddress(ip.gateway),
    routes: orNone(own.map(({ dst, gw }) => ({ dst: formatCidr(dst), gw: gw && formatAddress(gw) }))),
  }
}

function printInterface({ name, mac, mtu, sandbox, socketPath, pciID }: CniInterface, is1: boolean): object {
  const newer = is1 ? { mtu: mtu || undefined, socketPath, pciID } : {}
  return { name, mac, sandbox: sandbox || undefined, ...newer }
}

function printIp({ address, gateway, interface: index }: CniIp): object {
  return { interface: index, address: formatCidr(address), gateway: gateway && formatAddress(gateway) }
}

/** Table and scope 0 mean something; in the others 0 is unset. */
export function printRoute({ dst, gw, mtu, advmss, priority, table, scope }: CniRoute) {
  return {
    dst: formatCidr(dst),
    gw: gw && formatAddress(gw),
    mtu: mtu || undefined,
    advmss: advmss || undefined,
    priority: priority || undefined,
    table,
    scope,
  }
}

function printDns({ nameservers, domain, search, options }: CniDns = {}): object {
  return {
    ...(nameservers?.length && { nameservers }),
    ...(domain && { domain }),
    ...(search?.length && { search }),
    ...(options?.length && { options }),
  }
}

function orNone<T>(list: readonly T[] = []): readonly T[] | undefined {
  return list.length > 0 ? list : undefined
}
