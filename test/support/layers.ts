import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parseAst } from 'vitest/node'

/** One source file, by its path from the root of the repository. */
export type SourceFile = { readonly path: string; readonly text: string }

export type Finding = { readonly rule: Rule; readonly where: string; readonly what: string }

/** What is checked, and why. */
export const RULES = {
  layer:
    'a file imports its own folder or one of lower rank: then each part can be read, tested and replaced alone',
  unranked:
    'a folder without a rank has no place in the order; give it one in test/support/layers.ts and in the design',
  linux:
    'all else runs on the port, in memory as well as on Linux: only src/main.ts and src/agent.ts put the real kernel in',
  double: 'test/ holds fakes, doubles and tests; in the product they would be dead weight, or a lie',
  runtime:
    'the sources run in the executable and in Bun: what a runtime must offer stands in src/runtime, and only bun.ts and src/agent.ts know Bun and Node',
  unresolved:
    'an import must name a source file of ours with its ending, or a package; anything else breaks the build',
  cycle: 'files in a cycle can only be understood together, and load in an order that nobody chose',
  fileLength: 'a file of more than 400 lines holds more than one decision',
  functionLength: 'a function of more than 70 lines does not fit on a screen, nor in a head',
  index: 'an index.ts hides which file a name comes from, and ties together what could stand alone',
  defaultExport: 'a default export has another name in every file that imports it',
  name: 'utils, helpers, common and manager say nothing about what is inside, so anything ends up there',
} as const

export type Rule = keyof typeof RULES

/** The longest path that fits decides. Folders that do not exist yet have their place already. */
const RANKS: Readonly<Record<string, number>> = {
  'src/runtime': -1,
  'src/core': 0,
  'src/kernel': 1,
  'src/cni': 1,
  'src/kube': 1,
  'src/state': 2,
  'src/attachment': 2,
  ipam: 1,
  'src/pod': 3,
  'src/overlay': 3,
  'src/policy': 3,
  'src/service': 3,
  'src/plugin': 4,
  'src/cli': 5,
  'src/agent': 4,
  'src/kernel/linux': 5,
  'src/main.ts': 6,
  'src/agent.ts': 6,
}
const LINUX = 'src/kernel/linux'
const ROOTS = ['src/main.ts', 'src/agent.ts']
const BUN = ['src/runtime/bun.ts', 'src/agent.ts']
const MAX_FILE_LINES = 400
const MAX_FUNCTION_LINES = 70
const BAD_WORDS = ['util', 'utils', 'helper', 'helpers', 'common', 'manager', 'managers']

/** Every .ts file below these folders of the repository. */
export function readSources(root: string, folders: readonly string[]): SourceFile[] {
  return folders.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .map((name) => join(folder, name))
      .sort()
      .map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') })),
  )
}

/** All that is against the rules, in the order of the files. */
export function checkLayers(files: readonly SourceFile[]): Finding[] {
  const parsed = files.map(parse)
  const known = new Set(files.map(({ path }) => path))
  return [
    ...parsed.flatMap((file) => [
      ...file.imports.flatMap((one) => checkImport(file, one, known)),
      ...checkShape(file),
      ...checkNames(file),
    ]),
    ...findCycles(parsed, known),
  ]
}

/** One line for people: where, what, and why there is such a rule. */
export function explain({ rule, where, what }: Finding): string {
  return `${where}: ${what} (${rule}: ${RULES[rule]})`
}

type Import = { readonly line: number; readonly specifier: string; readonly target: string | undefined }
type Span = { readonly name: string; readonly line: number; readonly lines: number }
type ParsedFile = {
  readonly path: string
  readonly lines: number
  readonly imports: readonly Import[]
  readonly functions: readonly Span[]
  readonly names: readonly { readonly name: string; readonly line: number }[]
  readonly defaultExports: readonly number[]
  /** Where Bun or Node is named: their modules, `Bun`, `process`, `Buffer`. */
  readonly runtimeNames: readonly { readonly name: string; readonly line: number }[]
}
/** A node of the syntax tree (ESTree with TypeScript), of which only the fields in use are named. */
export type Node = { readonly type: string; readonly start: number; readonly end: number } & Record<
  string,
  unknown
>

function parse({ path, text }: SourceFile): ParsedFile {
  const lineAt = (offset: number) => text.slice(0, offset).split('\n').length
  const nodes = [...walk(parseAst(text, { lang: 'ts' } as never, path) as unknown as Node)]
  return {
    path,
    lines: text.trimEnd().split('\n').length,
    imports: nodes.flatMap((node) => {
      const specifier = specifierOf(node)
      if (specifier === undefined) return []
      const target = specifier.startsWith('.') ? join(dirname(path), specifier) : undefined
      return [{ line: lineAt(node.start), specifier, target }]
    }),
    functions: nodes.filter(isFunction).map(({ start, end, ...node }) => {
      const line = lineAt(start)
      return { name: nameOf(node) ?? 'a function', line, lines: lineAt(end) - line + 1 }
    }),
    names: nodes.flatMap((node) => {
      const name = isDeclaration(node) ? nameOf(node) : undefined
      return name === undefined ? [] : [{ name, line: lineAt(node.start) }]
    }),
    defaultExports: nodes.filter(isDefaultExport).map(({ start }) => lineAt(start)),
    runtimeNames: nodes.flatMap((node) => {
      const name = runtimeNameOf(node)
      return name === undefined ? [] : [{ name, line: lineAt(node.start) }]
    }),
  }
}

function* walk(node: Node): Generator<Node> {
  yield node
  for (const value of Object.values(node)) {
    for (const child of Array.isArray(value) ? value : [value]) if (isNode(child)) yield* walk(child)
  }
}

export function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && typeof (value as Node).type === 'string'
}

/** Static, dynamic and type imports, `import x = require()`, and everything that is exported from elsewhere. */
function specifierOf(node: Node): string | undefined {
  const source = node.type === 'TSExternalModuleReference' ? node['expression'] : node['source']
  if (!/^(Import|Export|TSImportType|TSExternalModule)/.test(node.type) || !isNode(source)) return undefined
  return typeof source['value'] === 'string' ? source['value'] : '(computed)'
}

function runtimeNameOf(node: Node): string | undefined {
  const name = node.type === 'Identifier' ? String(node['name']) : (specifierOf(node) ?? '')
  return /^(Bun|process|Buffer|__dirname|require|(bun|node):.*)$/.test(name) ? name : undefined
}

function isFunction({ type }: Node): boolean {
  return ['FunctionDeclaration', 'FunctionExpression', 'ArrowFunctionExpression'].includes(type)
}

function isDeclaration({ type }: Node): boolean {
  return /^(FunctionDeclaration|ClassDeclaration|VariableDeclarator|TS(TypeAlias|Interface|Enum)Declaration)$/.test(
    type,
  )
}

function isDefaultExport(node: Node): boolean {
  const exported = node['exported']
  return (
    node.type === 'ExportDefaultDeclaration' ||
    (node.type === 'ExportSpecifier' && isNode(exported) && exported['name'] === 'default')
  )
}

function nameOf({ id }: Record<string, unknown>): string | undefined {
  return isNode(id) && typeof id['name'] === 'string' ? id['name'] : undefined
}

function checkImport(file: ParsedFile, one: Import, known: ReadonlySet<string>): Finding[] {
  const where = `${file.path}:${one.line}`
  if (one.specifier === '(computed)') {
    return [{ rule: 'unresolved', where, what: 'imports a computed name' }]
  }
  // The bundler reads the page of the agent as a text.
  if (one.target === undefined || one.target.endsWith('.html')) return []
  const what = `imports ${one.target}`
  if (one.target.startsWith('test/')) return [{ rule: 'double', where, what }]
  if (!known.has(one.target)) return [{ rule: 'unresolved', where, what }]
  const [from, to] = [layerOf(file.path), layerOf(one.target)]
  const findings: Finding[] = []
  if (from && to && from !== to && rankOf(from) <= rankOf(to)) {
    findings.push({
      rule: 'layer',
      where,
      what: `${from} (rank ${rankOf(from)}) ${what} (rank ${rankOf(to)})`,
    })
  }
  if (to === LINUX && from !== LINUX && !ROOTS.includes(file.path))
    findings.push({ rule: 'linux', where, what })
  return findings
}

function layerOf(path: string): string | undefined {
  const fitting = Object.keys(RANKS).filter((layer) => path === layer || path.startsWith(`${layer}/`))
  return fitting.sort((a, b) => b.length - a.length)[0]
}

function rankOf(layer: string): number {
  return RANKS[layer] ?? -1
}

/** Generated files have no reader, so their lengths do not matter. */
function checkShape(file: ParsedFile): Finding[] {
  const { path, lines, functions, defaultExports } = file
  const findings: Finding[] = []
  if (layerOf(path) === undefined) findings.push({ rule: 'unranked', where: path, what: 'has no rank' })
  if (/(^|\/)index\.ts$/.test(path)) findings.push({ rule: 'index', where: path, what: 'is an index' })
  for (const { name, line } of BUN.includes(path) ? [] : file.runtimeNames) {
    findings.push({ rule: 'runtime', where: `${path}:${line}`, what: `names ${name}` })
  }
  for (const line of defaultExports) {
    findings.push({ rule: 'defaultExport', where: `${path}:${line}`, what: 'exports a default' })
  }
  if (path.endsWith('.gen.ts')) return findings
  if (lines > MAX_FILE_LINES) findings.push({ rule: 'fileLength', where: path, what: `has ${lines} lines` })
  for (const one of functions.filter((each) => each.lines > MAX_FUNCTION_LINES)) {
    const what = `${one.name} has ${one.lines} lines`
    findings.push({ rule: 'functionLength', where: `${path}:${one.line}`, what })
  }
  return findings
}

function checkNames({ path, names }: ParsedFile): Finding[] {
  const findings: Finding[] = []
  if (hasBadWord(path)) findings.push({ rule: 'name', where: path, what: 'has such a name' })
  for (const { name, line } of names) {
    if (hasBadWord(name)) findings.push({ rule: 'name', where: `${path}:${line}`, what: `declares ${name}` })
  }
  return findings
}

/** Words are parted by anything that is no letter, and by a capital. */
function hasBadWord(text: string): boolean {
  const words = text.replace(/([a-z0-9])([A-Z])/g, '$1 $2').split(/[^A-Za-z]+/)
  return words.some((word) => BAD_WORDS.includes(word.toLowerCase()))
}

/** Each cycle once, from the file that comes first in it. */
function findCycles(files: readonly ParsedFile[], known: ReadonlySet<string>): Finding[] {
  const targets = new Map(
    files.map(({ path, imports }) => [
      path,
      imports.flatMap(({ target }) => (target && known.has(target) ? [target] : [])),
    ]),
  )
  const done = new Set<string>()
  const findings: Finding[] = []
  const visit = (path: string, trail: readonly string[]): void => {
    const at = trail.indexOf(path)
    if (at >= 0) {
      const what = `cycle ${[...trail.slice(at), path].join(' -> ')}`
      findings.push({ rule: 'cycle', where: path, what })
    }
    if (at >= 0 || done.has(path)) return
    for (const target of targets.get(path) ?? []) visit(target, [...trail, path])
    done.add(path)
  }
  for (const { path } of files) visit(path, [])
  return findings
}
