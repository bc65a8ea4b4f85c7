import { Code, Fault } from '../core/errors.ts'
import { isObject, parseJson } from '../core/json.ts'
import { isName } from '../core/names.ts'
import { decodeConfig } from './config.ts'
import { memberOf } from './validate.ts'

/*
 * Network configuration lists, the files in /etc/cni/net.d. Other programs write into ours: a service mesh adds its plugin at the end
 * of the list. Whatever they have added stays.
 */

export type JsonObject = Readonly<Record<string, unknown>>

/** A list with a name and plugins, each with a type. */
export type Conflist = JsonObject & { readonly name: string; readonly plugins: readonly PluginEntry[] }

export type PluginEntry = JsonObject & { readonly type: string }

/** The keys of a list in the CNI specification. One that we leave out gets its default; other keys belong to other programs. */
export const SPECIFIED = [
  'cniVersion',
  'cniVersions',
  'name',
  'disableCheck',
  'disableGC',
  'loadOnlyInlinedPlugins',
  'plugins',
]

const OWN_TYPE = 'bowline'

/** Reads a list that is to be installed. Throws a Fault that names the wrong key. `source` is the name of the file. */
export function parseConflist(text: string, source: string): Conflist {
  const list = readableConflist(text)
  if (!list) throw invalid(source, 'it is no JSON object with a list "plugins"', Code.decode)
  const wrong = list.plugins.findIndex(({ type }) => typeof type !== 'string' || !isName(type))
  if (wrong >= 0) throw invalid(source, `key "plugins[${wrong}].type": missing, or not the name of a plugin`)
  if (!list.plugins.some(isOwn)) throw invalid(source, `key "plugins": none has the type "${OWN_TYPE}"`)
  const { cniVersion, cniVersions = [] } = list
  for (const version of [cniVersion].concat(cniVersions))
    for (const config of ownConfigs(list, version)) decodeConfig(config)
  return list
}

/** Returns the configuration of each Bowline plugin of the list, as a runtime would write it to stdin. */
export function ownConfigs({ name, cniVersion, plugins }: Conflist, version = cniVersion): string[] {
  return plugins.filter(isOwn).map((plugin) => JSON.stringify({ ...plugin, name, cniVersion: version }))
}

/** Returns the list in a text of any origin, or undefined if it is no list with plugins. */
export function readableConflist(text: string | undefined): Conflist | undefined {
  return conflistIn(parseJson(text ?? ''))
}

/** Returns a JSON value of any origin as a list, or undefined if it is none. */
export function conflistIn(value: unknown): Conflist | undefined {
  const plugins = memberOf(value, 'plugins')
  if (!Array.isArray(plugins) || plugins.length === 0 || !plugins.every(isObject)) return undefined
  return value as Conflist
}

export function isOwn(plugin: JsonObject): boolean {
  return plugin['type'] === OWN_TYPE
}

/**
 * Returns `wanted` with what other programs have added to `present`: their plugins, in their order, and the keys that the
 * specification does not have.
 */
export function mergeConflist(wanted: Conflist, present: Conflist | undefined): Conflist {
  if (!present) return wanted
  const kept = Object.entries(present).filter(([key]) => key in wanted || !SPECIFIED.includes(key))
  const plugins = [...present.plugins]
  let at = 0
  for (const plugin of wanted.plugins) {
    const found = plugins.findIndex(({ type }) => type === plugin.type)
    if (found >= 0) plugins[found] = plugin
    else plugins.splice(at, 0, plugin)
    at = (found >= 0 ? found : at) + 1
  }
  return { ...Object.fromEntries(kept), ...wanted, plugins }
}

/** Returns the list without the plugins of these types; undefined if no other plugin is in it. */
export function withoutPlugins(list: Conflist, types: readonly string[]): Conflist | undefined {
  const plugins = list.plugins.filter(({ type }) => !types.includes(type))
  return plugins.length === 0 ? undefined : { ...list, plugins }
}

/** Returns whether two JSON values say the same, whatever the order of their keys. */
export function isSameJson(one: unknown, other: unknown): boolean {
  return canonical(one) === canonical(other)
}

export function printConflist(list: Conflist): string {
  return `${JSON.stringify(list, null, 2)}\n`
}

function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`
  if (!isObject(value)) return JSON.stringify(value) ?? 'null'
  const keys = Object.keys(value).sort()
  return `{${keys.map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`).join()}}`
}

function invalid(source: string, why: string, code: number = Code.invalidConfig): Fault {
  return new Fault(`read ${source}: ${why}`, {
    code,
    hint: 'Write it like conf/10-bowline.conflist; "jq ." shows where JSON is broken.',
  })
}
