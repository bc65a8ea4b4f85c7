import { createHash } from 'node:crypto'
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import { CACHE } from '../node/plugin.ts'

/** The one image of the tests, from no registry: it sleeps (which is all that a pause container does). */
export const IMAGE = 'bowline.test/pod:1'

/** What a container of the image runs to be a web server on this port; /cgi-bin/peer answers with the client's address. */
export function webServerCommand(port: number, address = '0.0.0.0'): string[] {
  return ['/bin/httpd', '-f', '-p', `${address}:${port}`, '-h', '/www']
}

/** Writes the image as an archive that `ctr images import` reads (docker's format: manifest, config, one layer). */
export async function packImage(archive: string): Promise<void> {
  const work = mkdtempSync(`${archive}-`)
  const root = join(work, 'root')
  fillRoot(root)
  // Numeric owner and a fixed time: the same content is the same image on every machine.
  const plain = ['--sort=name', '--owner=0', '--group=0', '--numeric-owner', '--mtime=@0']
  await execa('tar', [...plain, '-C', root, '-cf', join(work, 'layer.tar'), '.'])
  const digest = createHash('sha256')
    .update(readFileSync(join(work, 'layer.tar')))
    .digest('hex')
  const config = {
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    os: 'linux',
    config: { Env: ['PATH=/bin'], Entrypoint: ['/bin/sleep', '1000000'] },
    rootfs: { type: 'layers', diff_ids: [`sha256:${digest}`] },
  }
  writeFileSync(join(work, 'config.json'), JSON.stringify(config))
  const manifest = [{ Config: 'config.json', RepoTags: [IMAGE], Layers: ['layer.tar'] }]
  writeFileSync(join(work, 'manifest.json'), JSON.stringify(manifest))
  await execa('tar', ['-C', work, '-cf', archive, 'manifest.json', 'config.json', 'layer.tar'])
  rmSync(work, { recursive: true })
}

function fillRoot(root: string): void {
  for (const directory of ['bin', 'tmp', 'www/cgi-bin']) mkdirSync(join(root, directory), { recursive: true })
  copyFileSync(join(CACHE, 'debian/bin/busybox'), join(root, 'bin/busybox'))
  for (const applet of ['sh', 'sleep', 'httpd']) symlinkSync('busybox', join(root, 'bin', applet))
  const script = join(root, 'www/cgi-bin/peer')
  writeFileSync(script, '#!/bin/sh\nprintf \'Content-Type: text/plain\\r\\n\\r\\n%s\\n\' "$REMOTE_ADDR"\n')
  chmodSync(script, 0o755)
}
