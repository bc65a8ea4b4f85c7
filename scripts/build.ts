import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { type Compiled, compileExecutable } from './executable.ts'
import { readPluginPath } from './plugin_path.ts'

/* Builds dist/bowline, one executable, and the link dist/bowline-ipam. */
const root = new URL('..', import.meta.url).pathname
const entry = `${root}src/main.ts`
const dist = `${root}dist`
// Two builds at once must not write to one file; the last rename wins, and each is whole.
const work = `${dist}/.build-${process.pid}`
const started = performance.now()

mkdirSync(work, { recursive: true })
try {
  const compiled = compileExecutable(entry, `${work}/bowline`, work)
  renameSync(`${work}/bowline`, `${dist}/bowline`)
  symlinkSync('bowline', `${work}/bowline-ipam`)
  renameSync(`${work}/bowline-ipam`, `${dist}/bowline-ipam`)
  report(compiled)
} finally {
  rmSync(work, { recursive: true, force: true })
}

/** Says what was built, and writes the list of modules that each CNI call loads: dist/plugin_path.json. */
function report({ bytes, metafile }: Compiled): void {
  const path = readPluginPath(metafile, { root, base: work, entry })
  writeFileSync(`${work}/plugin_path.json`, `${JSON.stringify(path, null, 2)}\n`)
  renameSync(`${work}/plugin_path.json`, `${dist}/plugin_path.json`)
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  console.log(
    `built dist/bowline (${(bytes / 1e6).toFixed(0)} MB) and the link dist/bowline-ipam in ${seconds} s; ` +
      `a call loads ${path.modules.length} modules, ${(path.bytes / 1e3).toFixed(0)} kB`,
  )
}
