import { CONFIG_RULE } from '../../cni/config_schema.gen.ts'
import { type Conflist, isOwn, SPECIFIED } from '../../cni/conflist.ts'
import { canonicalKey, join, type Rule } from '../../cni/validate.ts'
import { isObject } from '../../core/json.ts'
import { quote } from '../../core/shell.ts'
import { nearMiss } from '../near_miss.ts'
import type { NetworkFile } from '../networks.ts'
import { type Finding, info, warning } from './finding.ts'

/*
 * Keys that nothing reads. The plugin accepts them, as the reference does, since other programs keep their own there; but most of them are
 * misspelt, and what somebody wanted does not happen.
 */

/** `meant` is the key that is probably wanted; one that is there already cannot be renamed to. */
type UnreadKey = {
  readonly path: string
  readonly given: string
  readonly meant: string | undefined
  readonly canRename: boolean
}

/** What runtimes fill in for one pod, with keys for any plugin. */
const FILLED_IN = /^(args|runtimeConfig|prevResult)$/
/** Of another IPAM plugin we do not know the keys. */
const KNOWN_IPAM: readonly unknown[] = [undefined, 'bowline-ipam', 'host-local']
/** Schema references of editors, and comments. */
const NO_KEY = /^[$_#/]/

/** Returns what nobody reads in a network of ours: a warning where the key is known that was meant, else a note. */
export function checkKeys({ file, list }: NetworkFile): Finding[] {
  return unreadKeys(list).map(({ path, given, meant, canRename }) => {
    const message = `${file}: ${sentence(path, meant)}`
    const expression = `s|${JSON.stringify(given)}|${JSON.stringify(meant)}|`
    const isPlain = canRename && /^[\w.-]+$/.test(given)
    const hint = isPlain ? `sed -i ${quote(expression)} ${quote(file)}` : `jq . ${quote(file)}`
    return (meant === undefined ? info : warning)('keys', message, hint)
  })
}

/** Returns a sentence for each key that is probably misspelt. */
export function misspeltKeys(list: Conflist | undefined): string[] {
  return unreadKeys(list).flatMap(({ path, meant }) => (meant === undefined ? [] : [sentence(path, meant)]))
}

function sentence(path: string, meant: string | undefined): string {
  return `nothing reads the key "${path}"${meant === undefined ? '' : `; did you mean "${meant}"?`}`
}

function unreadKeys(list: Conflist | undefined): UnreadKey[] {
  if (!list) return []
  // A `.conf` is a plugin without a list around it.
  const ofList = isOwn(list) ? [] : unknownIn(list, SPECIFIED, '')
  return [...ofList, ...list.plugins.filter(isOwn).flatMap((plugin) => unreadIn(CONFIG_RULE, plugin, ''))]
}

function unreadIn(rule: Rule, value: unknown, path: string): UnreadKey[] {
  if (rule.items && Array.isArray(value)) {
    const { items } = rule
    return value.flatMap((item, i) => unreadIn(items, item, `${path}[${i}]`))
  }
  const { keys } = rule
  if (!isObject(value) || FILLED_IN.test(path)) return []
  if (path === 'capabilities') return unknownIn(value, capabilities(), path).filter(({ meant }) => meant)
  if (!keys || (path === 'ipam' && !KNOWN_IPAM.includes(value['type']))) return []
  const members = Object.entries(value).flatMap(([given, member]) => {
    const key = canonicalKey(keys, given)
    const memberRule = key === undefined ? undefined : keys[key]
    return key !== undefined && memberRule ? unreadIn(memberRule, member, join(path, key)) : []
  })
  const known = Object.keys(keys)
  return [...unknownIn(value, known, path).filter(({ given }) => !canonicalKey(keys, given)), ...members]
}

/** A runtime compares these names with regard to case, and the names of others are no mistake. */
function capabilities(): string[] {
  return Object.keys(CONFIG_RULE.keys?.['runtimeConfig']?.keys ?? {})
}

function unknownIn(value: object, known: readonly string[], path: string): UnreadKey[] {
  const folded = known.map((key) => key.toLowerCase())
  return Object.keys(value)
    .filter((given) => !known.includes(given) && !NO_KEY.test(given))
    .map((given) => {
      const meant = known[folded.indexOf(nearMiss(given.toLowerCase(), folded) ?? '')]
      const canRename = meant !== undefined && !Object.hasOwn(value, meant)
      return { path: join(path, given), given, meant, canRename }
    })
}
