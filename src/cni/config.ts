import { Code, Fault } from '../core/errors.ts'
import { isObject, shown } from '../core/json.ts'
import { isName, tooLong } from '../core/names.ts'
import { assertCoherent } from './config_rules.ts'
import { CONFIG_RULE } from './config_schema.gen.ts'
import { FORMATS, MAX_NETWORK_NAME } from './formats.ts'
import { MAX_DEPTH, MAX_LENGTH, recoverObject } from './recover_json.ts'
import { assertNoRepeatedKeys } from './repeated_keys.ts'
import type { NetworkConfig } from './schema.ts'
import { applyRule, isDeeperThan, memberOf, type Tolerance } from './validate.ts'
import { type CniVersion, NEWEST_VERSION, parseVersion } from './versions.ts'

export type { NetworkConfig }

const IPAM_KEYS = /^(ipam|args|runtimeConfig$|runtimeConfig\.ip)/

/** The keys that every plugin reads. */
const NAMING = ['name', 'cniVersion']

/** The IPAM plugins that share one layout of `ipam`. Other plugins check their own. */
const KNOWN_LAYOUT: readonly unknown[] = ['bowline-ipam', 'host-local']

/**
 * Reads and checks a network configuration. Throws a Fault: code 6 if the text is not a JSON object, 7 if the name or
 * a key is missing or invalid, 1 for an unsupported version. Keys are checked last. An unknown IPAM plugin's `ipam` keeps
 * only the keys that are valid for ours.
 */
export function decodeConfig(text: string): NetworkConfig {
  const raw = parseObject(text)
  if (Array.isArray(raw['plugins']) && raw['type'] === undefined) {
    throw new Fault('key "plugins": a list of plugins, and each is given its own part', {
      code: Code.invalidConfig,
      hint: 'Give one object of "plugins", with "name" and "cniVersion" of the list.',
    })
  }
  const type = memberOf(memberOf(raw, 'ipam'), 'type')
  const foreign = typeof type === 'string' && !KNOWN_LAYOUT.includes(type)
  const tolerance: Tolerance = {
    invalid: (path) => foreign && path.startsWith('ipam.') && path !== 'ipam.type',
    // Runtimes put keys for any plugin into "args".
    repeated: (path, isKnown) => !isKnown && path.startsWith('args.'),
  }
  const config = decode(raw, tolerance, text)
  assertCoherent(config)
  return config
}

/**
 * Reads a configuration for a removal, which only a missing name or version may stop: leaves out a key that is invalid, too
 * large or too deep, and keeps keys that contradict each other. Leaves out a whole list for one invalid item.
 */
export function decodeForRemoval(text: string): NetworkConfig {
  return decode(parseReadable(text), { invalid: () => true, repeated: () => true })
}

/**
 * Reads a configuration for GC, as for a removal, but refuses a list of valid attachments that is invalid or repeated:
 * nothing may be removed then.
 */
export function decodeForGc(text: string): NetworkConfig {
  const isOther = (path: string): boolean => !path.startsWith('cni.dev/')
  return decode(parseReadable(text), { invalid: isOther, repeated: isOther }, text)
}

/** Returns the text without members that are too large or too deep, for another plugin that takes part in a removal. */
export function readableText(text: string): string {
  const raw = tryParse(text)
  return raw instanceof Fault ? JSON.stringify(recoverObject(text) ?? {}) : text
}

/**
 * Reads a configuration as the IPAM plugin of another plugin, which may give our keys another meaning, as macvlan does with
 * "mode". Checks the keys that addresses depend on as `decodeConfig` does.
 */
export function decodeForIpam(text: string): NetworkConfig {
  const isTheirs = (path: string): boolean => !IPAM_KEYS.test(path)
  return decode(
    parseObject(text),
    {
      invalid: isTheirs,
      repeated: (path, isKnown) => !isKnown || (isTheirs(path) && !NAMING.includes(path)),
    },
    text,
  )
}

/** Returns the version to print an error in: that of the config if it can be read, else the newest. Never throws. */
export function versionForErrors(text: string): CniVersion {
  try {
    return parseVersion(memberOf(parseObject(text), 'cniVersion'), 'config')
  } catch {
    return NEWEST_VERSION
  }
}

/** Repeated keys are searched for in the text; without it the last one is taken, as JSON.parse does. */
function decode(raw: Record<string, unknown>, tolerance: Tolerance, text?: string): NetworkConfig {
  const name = parseName(memberOf(raw, 'name'))
  const cniVersion = parseVersion(memberOf(raw, 'cniVersion'), 'config')
  if (text !== undefined) assertNoRepeatedKeys(CONFIG_RULE, text, raw, '', tolerance.repeated)
  return { ...(applyRule(CONFIG_RULE, raw, '', tolerance) as NetworkConfig), name, cniVersion }
}

function parseName(name: unknown): string {
  if (typeof name === 'string' && FORMATS.networkName.read(name)) return name
  const absent = name === undefined || name === ''
  const isLong = typeof name === 'string' && isName(name)
  const wrong = isLong
    ? tooLong(name, MAX_NETWORK_NAME)
    : `invalid characters found in network name ${shown(name)}`
  const what = absent ? 'missing network name' : wrong
  throw new Fault(`key "name": ${what}`, {
    code: Code.invalidConfig,
    hint: `Set "name" to ${FORMATS.networkName.what}.`,
  })
}

function parseObject(text: string): Record<string, unknown> {
  const value = tryParse(text)
  if (value instanceof Fault) throw value
  return value
}

/** Returns the readable members of the object. Throws if the text is not one whole object. */
function parseReadable(text: string): Record<string, unknown> {
  const value = tryParse(text)
  if (!(value instanceof Fault)) return value
  const readable = recoverObject(text)
  if (!readable) throw value
  return readable
}

function tryParse(text: string): Record<string, unknown> | Fault {
  if (text.length > MAX_LENGTH) return broken(`more than ${MAX_LENGTH} characters, Bowline's own limit`)
  if (text.startsWith('\uFEFF')) return broken('it begins with a byte order mark', BYTE_ORDER_MARK_HINT)
  if (text.trim() === '') return broken('nothing came on standard input')
  try {
    const value: unknown = JSON.parse(text)
    if (!isObject(value)) return broken('not an object')
    return isDeeperThan(MAX_DEPTH, value)
      ? broken(`nested deeper than ${MAX_DEPTH} levels, Bowline's own limit`)
      : value
  } catch (error) {
    return broken(error instanceof Error ? error.message.slice(0, 120) : 'not JSON')
  }
}

const JSON_HINT = 'Look at the file in /etc/cni/net.d with a JSON checker, such as "jq .".'
/** JSON checkers accept it, and no editor shows it. */
const BYTE_ORDER_MARK_HINT = String.raw`Remove it: sed -i '1s/^\xEF\xBB\xBF//' /etc/cni/net.d/FILE`

function broken(why: string, hint = JSON_HINT): Fault {
  return new Fault(`read the network configuration: ${why}`, { code: Code.decode, hint })
}
