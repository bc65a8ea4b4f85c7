import { readdirSync, readFileSync, realpathSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { execaSync } from 'execa'
import { type CpioEntry, writeCpio } from './cpio.ts'
import { type GuestKernel, moduleFiles } from './kernel_modules.ts'
import { BOWLINE, CACHE } from './plugin.ts'

/** Programs of this machine that the virtual machine has as well, with the libraries that they need. */
const PROGRAMS = [
  'bash',
  'bridge',
  'curl',
  'ip',
  'ip6tables-save',
  'iptables-save',
  'mount',
  'nft',
  'nsenter',
  'ping',
  'sh',
  'umount',
  'unshare',
]
const REFERENCE_PLUGINS = ['bridge', 'host-local', 'loopback', 'portmap', 'ptp', 'static', 'tuning', 'vlan']
const MODULES = [
  ...['virtio_pci', 'virtio_blk', 'virtio_console', 'crc32c_generic', 'ext4', 'veth', 'dummy'],
  ...['kernel/net/802/', 'kernel/net/8021q/', 'kernel/net/bridge/', 'kernel/net/ipv4/', 'kernel/net/ipv6/'],
  ...['kernel/net/netfilter/', 'kernel/net/sched/'],
]

/** Files by their path in the machine, relative to the root: each a path here, or its content. */
export type MoreFiles = Readonly<Record<string, string | Uint8Array>>

/**
 * Writes the first file system of the virtual machine, all of which stays in its memory: busybox, our plugin and the
 * reference plugins in /opt/cni/bin, programs and libraries of this machine, the modules of its kernel, and `more`.
 */
export function writeGuestImage(path: string, kernel: GuestKernel, more: MoreFiles = {}): void {
  writeCpio(
    path,
    new Map<string, CpioEntry>([
      ...busybox(),
      ...programs(),
      ...plugins(),
      ...modules(kernel),
      ...Object.entries(more).map(([name, content]) => file(name, content)),
      file('init', resolve(import.meta.dirname, 'guest/init')),
    ]),
  )
}

type Entry = [path: string, entry: CpioEntry]

function file(path: string, content: string | Uint8Array): Entry {
  return [path, { kind: 'file', bytes: typeof content === 'string' ? readFileSync(content) : content }]
}

function link(path: string, target: string): Entry {
  return [path, { kind: 'link', target }]
}

function busybox(): Entry[] {
  const source = join(CACHE, 'debian/bin/busybox')
  const applets = execaSync(source, ['--list']).stdout.split('\n')
  return [
    ...applets
      .filter((applet) => ![...PROGRAMS, 'busybox'].includes(applet))
      .map((applet) => link(`bin/${applet}`, 'busybox')),
    file('bin/busybox', source),
    // Where the kernel looks for it when it needs a module.
    link('sbin/modprobe', '/bin/busybox'),
  ]
}

function programs(): Entry[] {
  const sources = PROGRAMS.map((name) => realpathSync(execaSync('sh', ['-c', `command -v ${name}`]).stdout))
  const libraries = new Set([...sources, BOWLINE].flatMap(librariesOf))
  return [
    ...PROGRAMS.map((name, i) => file(`bin/${name}`, sources[i] ?? '')),
    ...[...libraries].map((library) => file(library.slice(1), library)),
  ]
}

/** The paths as the program has them: `NAME => PATH (ADDRESS)`, and `PATH (ADDRESS)` for the loader. */
function librariesOf(program: string): string[] {
  // It fails for a program that needs none.
  const { stdout } = execaSync('ldd', [program], { reject: false })
  return stdout.split('\n').flatMap((line) => /(?:=> |^\s+)(\/\S+) \(0x/.exec(line)?.[1] ?? [])
}

function plugins(): Entry[] {
  const directory = 'opt/cni/bin'
  return [
    ...REFERENCE_PLUGINS.map((name) => file(`${directory}/${name}`, join(CACHE, 'plugins', name))),
    file(`${directory}/bowline`, BOWLINE),
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
