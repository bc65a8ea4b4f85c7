import { createHash } from 'node:crypto'
import { gunzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { imageArchive } from '../../scripts/image/archive.ts'
import { tar } from '../../scripts/image/tar.ts'

const FILES = [
  { path: 'lib/x/libc.so.6', mode: 0o755, bytes: new TextEncoder().encode('a library') },
  { path: 'lib/y', mode: 0o644, bytes: new Uint8Array(512) },
]
const IMAGE = {
  name: 'localhost/one:2',
  version: '2',
  entrypoint: '/one',
  platforms: [
    { architecture: 'amd64', layers: [FILES] },
    { architecture: 'arm64', layers: [FILES, FILES.slice(1)] },
  ],
} as const

type Descriptor = { readonly mediaType: string; readonly digest: string; readonly size: number }

/** The files of an archive, as Bun reads one. */
async function filesOf(bytes: Uint8Array): Promise<Map<string, Uint8Array>> {
  const files = await new Bun.Archive(bytes).files()
  return new Map(
    await Promise.all([...files].map(async ([path, file]) => [path, await file.bytes()] as const)),
  )
}

describe('the tar archive', () => {
  it('holds the files, with the directories that they need', async () => {
    const bytes = tar(FILES)
    expect(bytes.length % 512).toBe(0)
    expect(Buffer.from(bytes).toString('latin1')).toContain('lib/x/\0')
    expect(await filesOf(bytes)).toEqual(new Map(FILES.map(({ path, bytes }) => [path, bytes])))
  })
})

describe('the image', () => {
  const bytes = imageArchive(IMAGE)
  const json = <T>(files: Map<string, Uint8Array>, path: string) =>
    JSON.parse(new TextDecoder().decode(files.get(path))) as T
  const pathOf = ({ digest }: Descriptor) => `blobs/${digest.replace(':', '/')}`

  it('is the same when it is made again', () => {
    expect(Buffer.from(imageArchive(IMAGE)).equals(Buffer.from(bytes))).toBe(true)
  })

  it('names each blob by its digest, and says its size', async () => {
    const files = await filesOf(bytes)
    const blobs = [...files].filter(([path]) => path.startsWith('blobs/'))
    for (const [path, blob] of blobs)
      expect(path).toBe(`blobs/sha256/${createHash('sha256').update(blob).digest('hex')}`)
    const { manifests } = json<{ manifests: Descriptor[] }>(files, 'index.json')
    expect(manifests.map((one) => [one.size, files.get(pathOf(one))?.length])).toEqual([
      [manifests[0]?.size, manifests[0]?.size],
    ])
  })

  it('leads from the index to the layers of each processor', async () => {
    const files = await filesOf(bytes)
    const [top] = json<{ manifests: Descriptor[] }>(files, 'index.json').manifests
    const { manifests } = json<{ manifests: (Descriptor & { platform: { architecture: string } })[] }>(
      files,
      pathOf(top as Descriptor),
    )
    expect(manifests.map(({ platform }) => platform.architecture)).toEqual(['amd64', 'arm64'])
    for (const one of manifests) {
      const { config, layers } = json<{ config: Descriptor; layers: Descriptor[] }>(files, pathOf(one))
      const { rootfs } = json<{ rootfs: { diff_ids: string[] } }>(files, pathOf(config))
      const unpacked = layers.map((layer) => gunzipSync(files.get(pathOf(layer)) ?? new Uint8Array()))
      expect(rootfs.diff_ids).toEqual(
        unpacked.map((layer) => `sha256:${createHash('sha256').update(layer).digest('hex')}`),
      )
    }
  })

  it('is found by what reads archives of docker save', async () => {
    const files = await filesOf(bytes)
    const [{ Config, RepoTags, Layers }] = json<[{ Config: string; RepoTags: string[]; Layers: string[] }]>(
      files,
      'manifest.json',
    )
    expect(RepoTags).toEqual(['localhost/one:2'])
    expect([Config, ...Layers].filter((path) => !files.has(path))).toEqual([])
  })
})
