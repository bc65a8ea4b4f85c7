import { readdirSync, readFileSync, realpathSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { execaSync } from 'execa'
import { CACHE } from '../node/plugin.ts'
import type { Architecture } from './architecture.ts'
import { type CpioEntry, writeCpio } from './cpio.ts'
import { type GuestKernel, moduleFiles } from './kernel_modules.ts'

const MODULES = [
  ...['virtio_pci', 'virtio_blk', 'virtio_console', 'crc32c_generic', 'ext4'],
  ...['veth', 'dummy', 'vxlan', 'ifb'],
  ...['kernel/net/802/', 'kernel/net/8021q/', 'kernel/net/bridge/', 'kernel/net/ipv4/', 'kernel/net/ipv6/'],
  ...['kernel/net/netfilter/', 'kernel/net/sched/'],
]

/** Files by their path in the machine, relative to the root: each a path here, or its content. */
export type MoreFiles = Readonly<Record<string, string | Uint8Array>>

/**
 * Writes the first file system of the virtual machine to `work`, all of which stays in its memory: busybox, our plugin and the
 * reference plugins in /opt/cni/bin, programs and their libraries, the modules of its kernel, and `more`. Returns its path.
 */
export function writeGuestImage(
  work: string,
  architecture: Architecture,
  kernel: GuestKernel,
  more: MoreFiles = {},
): string {
  const path = `${work}/image`
  writeCpio(
    path,
    new Map<string, CpioEntry>([
      ...busybox(architecture),
      ...programs(architecture),
      ...plugins(architecture),
      ...modules(kernel),
      ...Object.entries(more).map(([name, content]) => file(name, content)),
      file('init', resolve(import.meta.dirname, 'guest/init')),
      // nft knows protocols by their names there.
      file('etc/protocols', '/etc/protocols'),
    ]),
  )
  return path
}

type Entry = [path: string, entry: CpioEntry]

function file(path: string, content: string | Uint8Array): Entry {
  return [path, { kind: 'file', bytes: typeof content === 'string' ? readFileSync(content) : content }]
}

function link(path: string, target: string): Entry {
  return [path, { kind: 'link', target }]
}

function busybox({ debian, emulator, programs }: Architecture): Entry[] {
  const source = programIn(debian, 'busybox')
  const applets = outputOf([...emulator, source, '--list']).split('\n')
  return [
    ...applets
      .filter((applet) => ![...programs, 'busybox'].includes(applet))
      .map((applet) => link(`bin/${applet}`, 'busybox')),
    file('bin/busybox', source),
    // Where the kernel looks for it when it needs a module.
    link('sbin/modprobe', '/bin/busybox'),
  ]
}

function programs(architecture: Architecture): Entry[] {
  const { root, programs } = architecture
  const sources = programs.map((name) => programIn(root, name))
  const libraries = new Set(sources.flatMap((source) => librariesOf(architecture, source)))
  return [
    ...programs.map((name, i) => file(`bin/${name}`, sources[i] ?? '')),
    ...[...libraries].map((library) => file(library.slice(1), root + library)),
  ]
}

function programIn(root: string, name: string): string {
  // Of a program in two places, the one in sbin is a link, which would lead to a file of this machine.
  const directories = ['/usr/bin', '/bin', '/usr/sbin', '/sbin'].map((directory) => root + directory)
  const found = Bun.which(name, root === '' ? {} : { PATH: directories.join(':') })
  if (found) return realpathSync(found)
  throw new Error(`there is no ${name} in ${root}/: run scripts/setup test`)
}

/** Lists what a program loads, by the paths that it has there: `NAME => PATH (ADDRESS)`, and `PATH (ADDRESS)` for the loader. */
export function librariesOf({ lister }: Architecture, program: string): string[] {
  return outputOf([...lister, program])
    .split('\n')
    .flatMap((line) => /(?:=> |^\s+)(\/\S+) \(0x/.exec(line)?.[1] ?? [])
}

function outputOf([command = '', ...args]: readonly string[]): string {
  return execaSync(command, args).stdout
}

function plugins({ referencePlugins, bowline }: Architecture): Entry[] {
  const directory = 'opt/cni/bin'
  return [
    ...referencePlugins.map((name) => file(`${directory}/${name}`, join(CACHE, 'plugins', name))),
    file(`${directory}/bowline`, bowline()),
    link(`${directory}/bowline-ipam`, 'bowline'),
    // Where suites look for the reference plugins.
    link('opt/cni/plugins', 'bin'),
  ]
}

function modules(kernel: GuestKernel): Entry[] {
  const target = `lib/modules/${kernel.release}`
  const lists = readdirSync(kernel.modules).filter((name) =>
    /^modules\.(dep|alias|symbols|builtin)$/.test(name),
  )
  return [...lists, ...moduleFiles(kernel, MODULES)].map((path) =>
    file(join(target, path), join(kernel.modules, path)),
  )
}
