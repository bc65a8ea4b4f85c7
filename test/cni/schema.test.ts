import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import * as z from 'zod'
import { staleFiles } from '../../scripts/generate.ts'
import { decodeConfig } from '../../src/cni/config.ts'
import { networkConfigList } from '../../src/cni/schema.ts'
import { asText } from '../support/as_text.ts'

const root = new URL('../../', import.meta.url)
const read = (path: string) => readFileSync(new URL(path, root), 'utf8')
const shipped = readdirSync(new URL('conf', root)).filter((name) => name.endsWith('.conflist'))

type Schema = { description?: string; properties?: Record<string, Schema>; anyOf?: Schema[]; items?: Schema }

describe('the generated files', () => {
  it('are what the schema makes', () => {
    expect(staleFiles(fileURLToPath(root)).map(({ path }) => path)).toEqual([])
  })

  it('count as stale where they are missing', () => {
    const paths = staleFiles('/proc').map(({ path }) => path)
    expect(paths).toEqual([
      'conf/bowline.schema.json',
      'src/cni/config_schema.gen.ts',
      'conf/overlay.schema.json',
      'src/overlay/config_schema.gen.ts',
    ])
  })

  it('explain every key to an editor', () => {
    const missing: string[] = []
    const walk = (schema: Schema, path: string) => {
      for (const [key, member] of Object.entries(schema.properties ?? {})) {
        const isContainer = member.properties ?? member.items?.properties
        if (!member.description && !isContainer) missing.push(`${path}.${key}`)
        walk(member, `${path}.${key}`)
      }
      for (const member of [...(schema.anyOf ?? []), ...(schema.items ? [schema.items] : [])])
        walk(member, `${path}[]`)
    }
    for (const name of ['bowline', 'overlay']) walk(JSON.parse(read(`conf/${name}.schema.json`)), name)
    expect(missing).toEqual([])
  })
})

describe('the plugin path', () => {
  it('takes only types from the schema', () => {
    const dir = new URL('src/cni/', root)
    const files = readdirSync(dir).filter((name) => name !== 'schema.ts')
    const imports = files
      .flatMap((name) => read(`src/cni/${name}`).split('\n'))
      .filter((line) => /from '.*(schema\.ts|zod)'/.test(line))
    expect(imports.length).toBeGreaterThan(0)
    for (const line of imports) expect(line).toMatch(/^import type /)
  })
})

describe.each(shipped)('conf/%s', (name) => {
  const list = JSON.parse(read(`conf/${name}`))
  const editorSchema = z.fromJSONSchema(JSON.parse(read('conf/bowline.schema.json')))

  it('is valid to the schema and to editors', () => {
    expect(networkConfigList.safeParse(list).error).toBeUndefined()
    expect(editorSchema.safeParse(list).error).toBeUndefined()
  })

  it('has no key that the schema does not know', () => {
    const known = networkConfigList.parse(list)
    expect(known).toEqual(expect.objectContaining(list))
  })

  it('is taken by the plugin in every version that it offers', () => {
    for (const cniVersion of [list.cniVersion, ...list.cniVersions]) {
      const config = decodeConfig(JSON.stringify({ ...list.plugins[0], cniVersion, name: list.name }))
      expect(asText(config)).toEqual({ ...list.plugins[0], cniVersion, name: list.name })
    }
  })
})

describe('the schema for editors', () => {
  const editorSchema = z.fromJSONSchema(JSON.parse(read('conf/bowline.schema.json')))
  const list = (plugin: object) => ({ cniVersion: '1.1.0', name: 'n', plugins: [plugin] })

  it.each([
    { type: 'bowline', mtu: '1500' },
    { type: 'bowline', mode: 'l4' },
    { type: 'bowline', ipam: { ranges: [[{ subnet: '10.1.0.0' }]] } },
    { type: 'bowline', bridge: 'sixteencharacter' },
    { mtu: 1500 },
  ])('marks %j', (plugin) => {
    expect(editorSchema.safeParse(list(plugin)).success).toBe(false)
  })

  it('leaves the keys of other plugins alone', () => {
    expect(editorSchema.safeParse(list({ type: 'tuning', mtu: '1500' })).success).toBe(true)
  })
})
