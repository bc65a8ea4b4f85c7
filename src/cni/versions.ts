import { Code, Fault } from '../core/errors.ts'
import { shown } from '../core/json.ts'

/** The supported versions of the CNI specification, oldest first: comparisons use the order. */
export const SUPPORTED_VERSIONS = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const

export type CniVersion = (typeof SUPPORTED_VERSIONS)[number]

/** The version of a configuration without one. Source: CNI specification 0.1.0, which had no such key. */
const OLDEST_VERSION: CniVersion = '0.1.0'
export const NEWEST_VERSION: CniVersion = '1.1.0'

const FIRST_VERSION_OF: Readonly<Record<string, CniVersion>> = {
  CHECK: '0.4.0',
  STATUS: '1.1.0',
  GC: '1.1.0',
}

/**
 * Returns the given version if it is supported; `undefined` and "" mean 0.1.0. Throws a Fault (code 1) that names the
 * place of the version, such as `config`.
 */
export function parseVersion(given: unknown, where: string): CniVersion {
  const version = SUPPORTED_VERSIONS.find((one) => one === (given || OLDEST_VERSION))
  if (version) return version
  const supported = SUPPORTED_VERSIONS.map((one) => `"${one}"`).join(' ')
  throw new Fault(`incompatible CNI versions; ${where} is ${shown(given)}, plugin supports [${supported}]`, {
    code: Code.incompatibleVersion,
    hint: `Set "cniVersion" to "${NEWEST_VERSION}", or to the newest version that the runtime knows.`,
  })
}

export function isAtLeast(version: CniVersion, minimum: CniVersion): boolean {
  return SUPPORTED_VERSIONS.indexOf(version) >= SUPPORTED_VERSIONS.indexOf(minimum)
}

/** Throws a Fault (code 1) if the command is newer than the version of the configuration. */
export function assertCommandAllowed(command: string, version: CniVersion): void {
  const first = FIRST_VERSION_OF[command]
  if (!first || isAtLeast(version, first)) return
  throw new Fault(`config version does not allow ${command}`, {
    code: Code.incompatibleVersion,
    hint: `Set "cniVersion" to "${first}" or later; it is "${version}".`,
  })
}

/**
 * Returns the answer to VERSION, in the newest version, as the reference plugins do: the version of the caller is on
 * standard input, which a runtime may keep open. Source: CNI specification 1.1.0, section 5.
 */
export function printVersion(): string {
  return JSON.stringify({ cniVersion: NEWEST_VERSION, supportedVersions: SUPPORTED_VERSIONS })
}
