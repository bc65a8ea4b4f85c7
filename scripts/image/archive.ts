import { createHash } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { type TarFile, tar } from './tar.ts'

/*
 * An image as one file: the OCI image layout, and beside it the manifest.json of docker save, which points to the same blobs. So
 * containerd (ctr, kind, k3s), Docker, Podman and skopeo all read it. Source: image-spec v1.1, image-layout.md and manifest.md.
 */

export type Platform = {
  readonly architecture: 'amd64' | 'arm64'
  readonly layers: readonly (readonly TarFile[])[]
}

export type Image = {
  /** With a registry and a tag, such as `localhost/bowline:0.1.0`. */
  readonly name: string
  readonly version: string
  readonly entrypoint: string
  /** The first is what a Docker engine without a store of its own for several gets. */
  readonly platforms: readonly Platform[]
}

type Descriptor = { readonly mediaType: string; readonly digest: string; readonly size: number }

const OCI = 'application/vnd.oci.image'

/** The archive's bytes: the same for the same files, with the same version of zlib. */
export function imageArchive(image: Image): Uint8Array {
  const blobs = new Map<string, Uint8Array>()
  const put = (mediaType: string, content: Uint8Array | object): Descriptor => {
    const bytes = content instanceof Uint8Array ? content : json(content)
    const digest = digestOf(bytes)
    blobs.set(digest, bytes)
    return { mediaType: `${OCI}.${mediaType}`, digest, size: bytes.length }
  }
  const platforms = image.platforms.map((platform) => putPlatform(image, platform, put))
  const manifests = platforms.map(({ manifest, architecture }) => ({
    ...manifest,
    platform: { architecture, os: 'linux' },
  }))
  const index = put('index.v1+json', { schemaVersion: 2, mediaType: `${OCI}.index.v1+json`, manifests })
  const annotations = {
    'io.containerd.image.name': image.name,
    'org.opencontainers.image.ref.name': image.name.split(':').at(-1),
  }
  const [first] = platforms
  return tar([
    { path: 'oci-layout', mode: 0o644, bytes: json({ imageLayoutVersion: '1.0.0' }) },
    {
      path: 'index.json',
      mode: 0o644,
      bytes: json({ schemaVersion: 2, manifests: [{ ...index, annotations }] }),
    },
    {
      path: 'manifest.json',
      mode: 0o644,
      bytes: json([
        {
          Config: first && pathOf(first.config.digest),
          RepoTags: [image.name],
          Layers: first?.layers.map(({ digest }) => pathOf(digest)),
        },
      ]),
    },
    ...[...blobs].map(([digest, bytes]) => ({ path: pathOf(digest), mode: 0o644, bytes })),
  ])
}

function putPlatform(
  { version, entrypoint }: Image,
  { architecture, layers: files }: Platform,
  put: (mediaType: string, content: Uint8Array | object) => Descriptor,
): { architecture: string; manifest: Descriptor; config: Descriptor; layers: Descriptor[] } {
  const tars = files.map(tar)
  const layers = tars.map((one) => put('layer.v1.tar+gzip', gzipSync(one)))
  const labels = {
    'org.opencontainers.image.title': 'bowline',
    'org.opencontainers.image.version': version,
    'org.opencontainers.image.licenses': 'Apache-2.0',
  }
  const config = put('config.v1+json', {
    created: '1970-01-01T00:00:00Z',
    architecture,
    os: 'linux',
    config: { Entrypoint: [entrypoint], WorkingDir: '/', User: '0:0', Labels: labels },
    rootfs: { type: 'layers', diff_ids: tars.map(digestOf) },
    history: tars.map(() => ({ created: '1970-01-01T00:00:00Z', created_by: 'npm run image' })),
  })
  const manifest = put('manifest.v1+json', {
    schemaVersion: 2,
    mediaType: `${OCI}.manifest.v1+json`,
    config,
    layers,
  })
  return { architecture, manifest, config, layers }
}

function json(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value))
}

function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

function pathOf(digest: string): string {
  return `blobs/${digest.replace(':', '/')}`
}
