import { relative, resolve } from 'node:path'

/** What a CNI call loads before its first line runs: the entry chunk and all that it imports statically. */
export type PluginPath = {
  /** Source files by their paths from the root of the repository, sorted. */
  readonly modules: readonly string[]
  /** What is imported from outside of the bundle, such as `bun:ffi`; sorted. */
  readonly externals: readonly string[]
  /** Of the bundled code. */
  readonly bytes: number
}

/**
 * Reads the plugin path out of the metadata of a build. `base` is the directory that the build ran in, to which its
 * paths are relative. Throws if no chunk was made from `entry` (absolute).
 */
export function readPluginPath(
  { inputs, outputs }: Bun.BuildMetafile,
  { root, base, entry }: { root: string; base: string; entry: string },
): PluginPath {
  const chunks = staticChunks(outputs, (path) => resolve(base, path) === entry)
  const sources = new Set(chunks.flatMap((chunk) => Object.keys(outputs[chunk]?.inputs ?? {})))
  const imports = [...sources].flatMap((source) => inputs[source]?.imports ?? [])
  const externals = imports.filter(({ external, kind }) => external && kind !== 'dynamic-import')
  return {
    modules: [...sources].map((source) => relative(root, resolve(base, source))).sort(),
    externals: [...new Set(externals.map(({ path }) => path))].sort(),
    bytes: chunks.reduce((sum, chunk) => sum + (outputs[chunk]?.bytes ?? 0), 0),
  }
}

function staticChunks(outputs: Bun.BuildMetafile['outputs'], isEntry: (path: string) => boolean): string[] {
  const first = Object.keys(outputs).find((chunk) => isEntry(outputs[chunk]?.entryPoint ?? ''))
  if (first === undefined) throw new Error('the build has no chunk for its entry')
  const chunks = [first]
  // The list grows while it is walked, by what each chunk imports; there are no more chunks than outputs.
  for (const chunk of chunks) {
    for (const { path, kind } of outputs[chunk]?.imports ?? []) {
      if (kind !== 'dynamic-import' && outputs[path] && !chunks.includes(path)) chunks.push(path)
    }
  }
  return chunks
}
