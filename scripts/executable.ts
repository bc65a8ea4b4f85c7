import { copyFileSync } from 'node:fs'
import { execaSync } from 'execa'

/** Compiles a program with Bun. */
export function compileExecutable(entry: string, output: string, work: string): void {
  const bun = new URL('../node_modules/.bin/bun', import.meta.url).pathname
  execaSync(
    bun,
    ['build', '--compile', '--minify', '--bytecode', '--format=esm', entry, '--outfile', output],
    { cwd: work },
  )
}

export function installExecutable(from: string, to: string): void {
  copyFileSync(from, to)
}
