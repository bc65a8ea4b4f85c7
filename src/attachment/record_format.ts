import { formatAddress, parseAddress, parseCidr } from '../core/address.ts'
import { isPlainPath } from '../core/files.ts'
import { parseHostPort } from '../core/host_port.ts'
import { isObject } from '../core/json.ts'
import { isCniName, isInterfaceName, isName } from '../core/names.ts'
import type { AttachmentRecord } from './record.ts'

const HEAD = '{"version":1,"complete":'

/** Where in a record's text the word for `complete` stands, so that ADD can end with five bytes in place. */
export const COMPLETE_OFFSET = HEAD.length
/** As long as the `false` that it replaces: white space is nothing to JSON. */
export const COMPLETE_TEXT = 'true '

/** The text of a record. It always begins with the version and `complete`, whatever the order of the fields. */
export function formatRecord({ version, complete, ...rest }: AttachmentRecord): string {
  return JSON.stringify({ version, complete, ...rest }).replace(
    `${HEAD}true`,
    () => `${HEAD}${COMPLETE_TEXT}`,
  )
}

/** Reads a record. Undefined for anything that is not one in every field: nothing of such a text may be used. */
export function parseRecord(text: string): AttachmentRecord | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return isRecord(value) ? value : undefined
  } catch {
    return undefined
  }
}

/** Returns whether a value is a record in every field. */
export function isRecord(value: unknown): value is AttachmentRecord {
  if (!isObject(value)) return false
  try {
    return (
      REQUIRED.every((field) => field in value) &&
      Object.keys(value).every((field) => !Object.hasOwn(RULES, field) || RULES[field]?.(value[field]))
    )
  } catch {
    return false
  }
}

/** Returns whether a text is a record of a later release, which may hold more than this one could undo. */
export function isNewerRecord(text: string): boolean {
  const version = /^\{"version":(\d+)[,}]/.exec(text)?.[1]
  return version !== undefined && Number(version) > 1
}

type Rule = (value: unknown) => boolean

const REQUIRED = ['version', 'complete', 'network', 'containerId', 'ifName', 'bootId']

/** The rule of each field. One that has none is left to the release that wrote it. */
const RULES: Readonly<Record<string, Rule>> = {
  version: (value) => value === 1,
  complete: (value) => typeof value === 'boolean',
  network: isCniName,
  containerId: isCniName,
  ifName: isIfName,
  bootId: (value) => typeof value === 'string' && isName(value, 64),
  leases: (value) =>
    isObject(value) && isPlainPath(value['dataDir']) && isListOf(isAddress)(value['addresses']),
  delegate: isCniName,
  netns: (value) =>
    isObject(value) && isNetnsPath(value['path']) && isCount(value['device']) && isCount(value['inode']),
  hostIfName: isIfName,
  podMac: (value) => typeof value === 'string' && /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(value),
  mode: (value) => value === 'l2' || value === 'l3' || value === 'chained',
  bridge: isIfName,
  masquerade: (value) => isListOf(isCidr)(value),
  masqueradeSettings: (value) => isObject(value) && isMasqueradeSettings(value),
  masqueradeExempt: (value) => value === true,
  macspoofchk: (value) => value === true,
  ipspoofchk: (value) => typeof value === 'boolean',
  bandwidth: isBandwidth,
  hostPorts: (value) =>
    isObject(value) && isListOf(isHostPort)(value['ports']) && isListOf(isCidr)(value['pods']),
  routes: (value) => Array.isArray(value) && value.every(isRoute),
  hostRoutes: (value) =>
    isObject(value) && isIfName(value['link']) && isListOf(isAddress)(value['addresses']),
  chained: (value) =>
    isObject(value) &&
    isCount(value['ifIndex']) &&
    typeof value['joined'] === 'boolean' &&
    isListOf(isAddress)(value['addresses']),
}

const BANDWIDTH_NUMBERS = ['ingressRate', 'ingressBurst', 'egressRate', 'egressBurst']
const BANDWIDTH_SUBNETS = ['shapedSubnets', 'unshapedSubnets']
const ROUTE_NUMBERS = ['mtu', 'advmss', 'priority', 'table', 'scope']

function isMasqueradeSettings({ direct = [], keepsPorts = false }: Record<string, unknown>): boolean {
  return isListOf(isCidr)(direct) && typeof keepsPorts === 'boolean'
}

function isIfName(value: unknown): boolean {
  return typeof value === 'string' && isInterfaceName(value)
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

/** It is compared and opened as it came from the runtime, never joined to anything. */
function isNetnsPath(value: unknown): boolean {
  return typeof value === 'string' && value !== '' && !value.includes('\0')
}

function isAddress(text: string): boolean {
  return formatAddress(parseAddress(text)) === text
}

function isCidr(text: string): boolean {
  parseCidr(text)
  return true
}

function isBandwidth(value: unknown): boolean {
  if (!isObject(value)) return false
  const has = (keys: readonly string[], rule: Rule) =>
    keys.every((key) => value[key] === undefined || rule(value[key]))
  return has(BANDWIDTH_NUMBERS, isCount) && has(BANDWIDTH_SUBNETS, isListOf(isCidr))
}

function isHostPort(text: string): boolean {
  parseHostPort(text)
  return true
}

function isRoute(value: unknown): boolean {
  if (!isObject(value) || typeof value['dst'] !== 'string' || !isCidr(value['dst'])) return false
  const { gw } = value
  if (gw !== undefined && (typeof gw !== 'string' || !isAddress(gw))) return false
  return ROUTE_NUMBERS.every((key) => value[key] === undefined || isCount(value[key]))
}

/** The rule may throw as well; `isRecord` takes that for a no. */
function isListOf(rule: (text: string) => boolean): Rule {
  return (value) => Array.isArray(value) && value.every((one) => typeof one === 'string' && rule(one))
}
