import { Code, Fault } from '../core/errors.ts'

/** Every version of the CNI specification that we speak, oldest first: the order is what comparisons use. */
export const SUPPORTED_VERSIONS = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const

export type CniVersion = (typeof SUPPORTED_VERSIONS)[number]

/** The version of a configuration that names none. Source: CNI specification 0.1.0, which had no such key. */
const OLDEST_VERSION: CniVersion = '0.1.0'
export const NEWEST_VERSION: CniVersion = '1.1.0'

const FIRST_VERSION_OF: Readonly<Record<string, CniVersion>> = {
  CHECK: '0.4.0',
  STATUS: '1.1.0',
  GC: '1.1.0',
}

/**
 * The version as one that we speak; `undefined` and "" are 0.1.0. Throws a Fault (code 1) that names where the
 * version stands, such as `config`.
 */
export function parseVersion(given: unknown, where: string): CniVersion {
  const version = SUPPORTED_VERSIONS.find((one) => one === (given || OLDEST_VERSION))
  if (version) return version
  const shown = (typeof given === 'string' ? JSON.stringify(given) : String(given)).slice(0, 40)
  const supported = SUPPORTED_VERSIONS.map((one) => `"${one}"`).join(' ')
  throw new Fault(`incompatible CNI versions; ${where} is ${shown}, plugin supports [${supported}]`, {
    code: Code.incompatibleVersion,
    hint: `Set "cniVersion" to "${NEWEST_VERSION}", or to the newest version that the runtime knows.`,
  })
}

export function isAtLeast(version: CniVersion, minimum: CniVersion): boolean {
  return SUPPORTED_VERSIONS.indexOf(version) >= SUPPORTED_VERSIONS.indexOf(minimum)
}

/** Throws a Fault (code 1) if the command came later than the version of the configuration. */
export function assertCommandAllowed(command: string, version: CniVersion): void {
  const first = FIRST_VERSION_OF[command]
  if (!first || isAtLeast(version, first)) return
  throw new Fault(`config version does not allow ${command}`, {
    code: Code.incompatibleVersion,
    hint: `Set "cniVersion" to "${first}" or later; it is "${version}".`,
  })
}

/**
 * The answer to VERSION, in our own version as the reference plugins answer: the caller's stands on standard input, which
 * a runtime may keep open. Source: CNI specification 1.1.0, section 5.
 */
export function printVersion(): string {
  return JSON.stringify({ cniVersion: NEWEST_VERSION, supportedVersions: SUPPORTED_VERSIONS })
}
