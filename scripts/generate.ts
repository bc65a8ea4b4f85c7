import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import * as z from 'zod'
import { FORMATS, type FormatName } from '../src/cni/formats.ts'
import { jsonResult, networkConfig, networkConfigList } from '../src/cni/schema.ts'
import type { Rule } from '../src/cni/validate.ts'
import { overlayConfig } from '../src/overlay/schema.ts'

/**
 * Generates files from the schemas: the JSON Schemas for editors, and the rules by which the plugin and the agent check a
 * configuration. With --check it writes nothing, and fails if a file on disk differs.
 */
function main(check: boolean): void {
  const root = join(dirname(import.meta.path), '..')
  for (const { path, text } of staleFiles(root)) {
    if (!check) writeFileSync(join(root, path), text)
    else {
      console.error(`${path} is stale: run "npm run generate"`)
      process.exitCode = 1
    }
  }
}

/** Returns the files below `root` that are missing or differ from the schema, with their right contents. */
export function staleFiles(root: string): { path: string; text: string }[] {
  return generatedFiles().filter(({ path, text }) => readOrEmpty(join(root, path)) !== text)
}

/** Returns the files by their paths from the root of the repository. */
function generatedFiles(): { path: string; text: string }[] {
  return [
    { path: 'conf/bowline.schema.json', text: editorSchema(networkConfigList) },
    {
      path: 'src/cni/config_schema.gen.ts',
      text: ruleModule('src/cni/schema.ts', './validate.ts', {
        CONFIG_RULE: networkConfig,
        RESULT_RULE: jsonResult,
      }),
    },
    { path: 'conf/overlay.schema.json', text: editorSchema(overlayConfig) },
    {
      path: 'src/overlay/config_schema.gen.ts',
      text: `${ruleModule('src/overlay/schema.ts', '../cni/validate.ts', { OVERLAY_RULE: overlayConfig })}${defaultsOf('OVERLAY_DEFAULTS', overlayConfig)}`,
    },
  ]
}

type JsonSchema = {
  type?: string
  const?: unknown
  enum?: string[]
  default?: unknown
  anyOf?: JsonSchema[]
  format?: string
  minimum?: number
  maximum?: number
  items?: JsonSchema
  properties?: Record<string, JsonSchema>
  required?: string[]
}

function toJsonSchema(schema: z.ZodType): JsonSchema {
  return z.toJSONSchema(schema, { io: 'input', target: 'draft-7' }) as JsonSchema
}

/** Leaves out our formats, which have no meaning outside this repository; editors use the patterns. */
function editorSchema(of: z.ZodType): string {
  const schema = toJsonSchema(of)
  return `${JSON.stringify(schema, (key, value) => (key === 'format' && value in FORMATS ? undefined : value), 2)}\n`
}

/** Returns the values that the keys of an object have where they are left out. */
function defaultsOf(name: string, schema: z.ZodType): string {
  const lines = Object.entries(toJsonSchema(schema).properties ?? {}).flatMap(([key, member]) =>
    member.default === undefined ? [] : [`  ${key}: ${JSON.stringify(member.default)},\n`],
  )
  return `\nexport const ${name} = {\n${lines.join('')}} as const\n`
}

function ruleModule(source: string, validate: string, schemas: Record<string, z.ZodType>): string {
  const rules = Object.entries(schemas).map(([name, schema]) => [name, ruleOf(toJsonSchema(schema))] as const)
  const uses = new Map<string, number>()
  for (const [, rule] of rules) countUses(rule, uses)
  const shared = new Map<string, { name: string; line: string }>()
  const exported = rules.map(([name, rule]) => `export const ${name}: Rule = ${literal(rule, uses, shared)}`)
  return [
    `// Made by scripts/generate.ts from ${source}. Do not edit.`,
    `import type { Rule } from '${validate}'\n`,
    ...[...shared.values()].map(({ line }) => line),
    ...exported,
    '',
  ].join('\n')
}

function ruleOf(schema: JsonSchema): Rule {
  const [inner, none] = schema.anyOf ?? []
  if (inner && none?.type === 'null') return { ...ruleOf(inner), nullable: true }
  if (schema.type === 'boolean') return { type: 'boolean' }
  if (schema.type === 'integer')
    return { type: 'integer', min: schema.minimum ?? 0, max: schema.maximum ?? 0 }
  if (schema.type === 'array' && schema.items) return { type: 'array', items: ruleOf(schema.items) }
  if (schema.type === 'string') return stringRule(schema)
  if (schema.type === 'object') return objectRule(schema)
  throw new Error(`no rule for ${JSON.stringify(schema)}`)
}

function stringRule({ enum: values, format }: JsonSchema): Rule {
  return { type: 'string', ...(values && { values }), ...(format && { format: format as FormatName }) }
}

function objectRule({ properties, required }: JsonSchema): Rule {
  if (!properties) return { type: 'object' }
  const keys = Object.fromEntries(Object.entries(properties).map(([key, schema]) => [key, ruleOf(schema)]))
  return { type: 'object', keys, ...(required && { required }) }
}

function childrenOf({ items, keys = {} }: Rule): Rule[] {
  return [...(items ? [items] : []), ...Object.values(keys)]
}

function countUses(rule: Rule, uses: Map<string, number>): void {
  const text = JSON.stringify(rule)
  uses.set(text, (uses.get(text) ?? 0) + 1)
  for (const child of childrenOf(rule)) countUses(child, uses)
}

/** Returns a rule as source. A rule that is used twice becomes a constant, since every byte on the plugin path costs time. */
function literal(
  rule: Rule,
  uses: Map<string, number>,
  shared: Map<string, { name: string; line: string }>,
): string {
  const text = JSON.stringify(rule)
  const known = shared.get(text)
  if (known) return known.name
  const { items, keys, ...rest } = rule
  const members = Object.entries(keys ?? {}).map(
    ([key, child]) => `${JSON.stringify(key)}: ${literal(child, uses, shared)}`,
  )
  const body = [
    ...Object.entries(rest).map(([key, value]) => `${key}: ${JSON.stringify(value)}`),
    ...(items ? [`items: ${literal(items, uses, shared)}`] : []),
    ...(keys ? [`keys: {\n  ${members.join(',\n  ')},\n}`] : []),
  ]
  const source = `{ ${body.join(', ')} }`
  if ((uses.get(text) ?? 0) < 2) return source
  const name = `r${shared.size}`
  shared.set(text, { name, line: `const ${name}: Rule = ${source}` })
  return name
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

if (import.meta.main) main(process.argv.includes('--check'))
