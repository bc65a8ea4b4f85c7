import { decodeConfig, type NetworkConfig } from '../cni/config.ts'
import { type Conflist, conflistIn, isOwn, ownConfigs, readableConflist } from '../cni/conflist.ts'
import { Fault, toFault } from '../core/errors.ts'
import type { Files } from '../core/files.ts'

/** A file in the directory of networks. */
export type NetworkFile = {
  readonly file: string
  readonly name: string
  /** Undefined for a file that no runtime can read. */
  readonly list?: Conflist
  /** What the first plugin of ours is given; undefined where no plugin is ours, or the configuration is refused. */
  readonly config?: NetworkConfig
  /** The same as text. */
  readonly text?: string
  /** Why it is refused. */
  readonly fault?: Fault
}

/** What libcni takes for a configuration. */
const CONFIGURATION = /\.(conf|conflist|json)$/

/** Returns the files that a container runtime reads, in its order. */
export function readNetworks(confDir: string, files: Files): NetworkFile[] {
  const names = files.list(confDir).filter((name) => CONFIGURATION.test(name))
  return names.sort().map((name) => readNetwork(`${confDir}/${name}`, files))
}

function readNetwork(file: string, files: Files): NetworkFile {
  try {
    const given = files.readForeign(file) ?? ''
    const list = readableConflist(given) ?? single(given)
    if (!list) return { file, name: '' }
    const name = typeof list.name === 'string' ? list.name : ''
    const text = ownConfigs(list)[0]
    if (text === undefined || !list.plugins.some(isOwn)) return { file, name, list }
    try {
      return { file, name, list, text, config: decodeConfig(text) }
    } catch (error) {
      return { file, name, list, text, fault: toFault(error) }
    }
  } catch (error) {
    if (!(error instanceof Fault)) throw error
    return { file, name: '', fault: error }
  }
}

/** A `.conf` has one plugin, without a list around it. */
function single(text: string): Conflist | undefined {
  try {
    const plugin = JSON.parse(text) as Record<string, unknown>
    if (typeof plugin['type'] !== 'string') return undefined
    return conflistIn({ ...plugin, plugins: [plugin] })
  } catch {
    return undefined
  }
}
