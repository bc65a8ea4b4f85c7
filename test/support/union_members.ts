import { parseAst } from 'vitest/node'
import { isNode, type Node, type SourceFile } from './layers.ts'

/*
 * Members of string unions that the program never makes. A type has `'vlan'` in a union, or as the property that tells
 * the variants of an object apart; where nothing makes that string, what is done about it can't be reached. To compare
 * with it, or to have a row for it in a table, is not to make it.
 */

type Found = { readonly kind: 'member' | 'made'; readonly value: string; readonly start: number }

/** Returns where each member stands that no file makes, such as `src/pod/plan.ts:12: 'vlan'`. */
export function findUnmade(files: readonly SourceFile[]): string[] {
  const found = files.flatMap(({ path, text }) => {
    const program = parseAst(text, { lang: 'ts' } as never, path) as unknown as Node
    const lineOf = ({ start }: Found) => text.slice(0, start).split('\n').length
    return [...stringsIn(program)].map((one) => ({ ...one, where: `${path}:${lineOf(one)}` }))
  })
  const made = new Set(found.filter(({ kind }) => kind === 'made').map(({ value }) => value))
  const unmade = found.filter(({ kind, value }) => kind === 'member' && !made.has(value))
  return unmade.map(({ value, where }) => `${where}: '${value}'`)
}

/** Types that pick members by name; a name there declares nothing. */
const PICKING = ['Pick', 'Omit', 'Extract', 'Exclude']

function* stringsIn(node: Node): Generator<Found> {
  if (node.type === 'TSLiteralType') {
    yield* [node['literal']].flatMap((literal) => foundIn('member', literal))
    return
  }
  yield* foundIn('made', node)
  for (const [field, value] of Object.entries(node)) {
    for (const child of Array.isArray(value) ? value : [value]) {
      if (isNode(child) && !isPassedOver(node, field, child)) yield* stringsIn(child)
    }
  }
}

function foundIn(kind: Found['kind'], node: unknown): Found[] {
  if (!isNode(node)) return []
  const value = node.type === 'TemplateLiteral' ? wholeOf(node) : node.type === 'Literal' && node['value']
  return typeof value === 'string' ? [{ kind, value, start: node.start }] : []
}

/** The text of a template that has nothing to fill in. */
function wholeOf({ quasis }: Node): unknown {
  const [first, ...more] = quasis as (Node & { readonly value: { readonly cooked: string } })[]
  return more.length > 0 ? undefined : first?.value.cooked
}

/** Whether a child makes nothing and declares nothing: a name, a module, or what something is compared with. */
function isPassedOver({ type, typeName, operator, computed }: Node, field: string, child: Node): boolean {
  if (field === 'source' || field === 'indexType') return true
  if (field === 'key') return !computed
  if (field === 'typeArguments') return isNode(typeName) && PICKING.includes(`${typeName['name']}`)
  const isCompared = (type === 'BinaryExpression' && /^[!=]==$/.test(`${operator}`)) || field === 'test'
  return isCompared && child.type === 'Literal'
}
