import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { transformSync } from 'amaro'
import { builtinNames } from './builtins.ts'

const MAIN = 'src/main.ts'
/** What only a person's call needs: `host.load` evaluates it then. */
const LATER = 'src/cli/command_line.ts'
const BUILTINS = 'scripts/build/builtins.ts'
const RUNTIME = 'src/runtime/quickjs.ts'
const ENTRY = 'entry.js'
const IMPORT = /\bfrom\s+'([^']+)'/g

/**
 * Copies the modules of a program without their types, and returns the entry, and what is evaluated later. `main` is the module that
 * exports `main`. Types become white space, so a stack trace names the lines of the sources. Throws if a module imports a package
 * or a missing file.
 */
export function copyModules(root: string, target: string, main = MAIN): [entry: string, ...later: string[]] {
  const later = main === MAIN ? [LATER] : []
  const found = [BUILTINS, main, ...later]
  const words = new Set(['next'])
  // The list grows during the loop; the number of files bounds it.
  for (const path of found) {
    const { code, imports } = readModule(root, path)
    write(join(target, path), code)
    for (const [word = ''] of code.matchAll(/\b[a-zA-Z]\w*/g)) words.add(word)
    for (const one of imports) if (!found.includes(one)) found.push(one)
  }
  const made = JSON.stringify(builtinNames([...words].sort()))
  write(
    join(target, ENTRY),
    `import { makeBuiltins } from './${BUILTINS}'\nexport { main } from './${main}'\nmakeBuiltins(${made})\n`,
  )
  return [ENTRY, ...later]
}

function readModule(root: string, path: string): { code: string; imports: string[] } {
  const text = readFileSync(join(root, path), 'utf8')
  const erased = path.endsWith('.ts') ? transformSync(text, { mode: 'strip-only' }).code : text
  const imports: string[] = []
  const code = erased.replace(IMPORT, (_, specifier: string) => {
    const imported = specifier === '#runtime' ? RUNTIME : join(dirname(path), specifier)
    if (specifier !== '#runtime' && !specifier.startsWith('.'))
      throw new Error(`${path} imports the package ${specifier}`)
    imports.push(imported)
    const from = relative(dirname(path), imported)
    return `from '${from.startsWith('.') ? from : `./${from}`}'`
  })
  return { code, imports }
}

function write(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text)
}
