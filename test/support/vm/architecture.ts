import { join, resolve } from 'node:path'
import { execaSync } from 'execa'
import { BOWLINE, CACHE } from '../node/plugin.ts'

/** A processor that virtual machines are emulated for, and where the files come from that run on it. */
export type Architecture = {
  readonly name: 'amd64' | 'arm64'
  readonly qemu: string
  /** The distribution package that has it. */
  readonly qemuPackage: string
  /** What QEMU is to emulate. */
  readonly machine: readonly string[]
  /** What each kernel is told. */
  readonly parameters: readonly string[]
  /** Where scripts/setup has unpacked the kernel and busybox. */
  readonly debian: string
  /** The root that programs and their libraries are below. Empty for that of this machine. */
  readonly root: string
  /** What a virtual machine has of these; busybox is all else. */
  readonly programs: readonly string[]
  /** Runs a program of it here. */
  readonly emulator: readonly string[]
  /** Prints what a program loads, in the format of ldd. */
  readonly lister: readonly string[]
  readonly referencePlugins: readonly string[]
  /** Returns the path of our executable. */
  readonly bowline: () => string
}

const PROGRAMS = ['bash', 'bridge', 'ip', 'nft', 'ping']
const ARM64_ROOT = join(CACHE, 'debian-arm64')
const ROOT = resolve(import.meta.dirname, '../../..')

/** The processor of this machine, whose programs the virtual machine has as well. */
export const AMD64: Architecture = {
  name: 'amd64',
  qemu: 'qemu-system-x86_64',
  qemuPackage: 'qemu-system-x86',
  // `max`: Bun, which runs suites in the machine, needs AVX2. What guards memory is slow to emulate, and so is what the kernel
  // does against faults of real processors.
  machine: ['-cpu', 'max,-smap,-smep,-la57,-pku'],
  // Without `tsc=reliable` each look at the clock leaves the emulated processor.
  parameters: ['console=ttyS0', 'tsc=reliable', 'mitigations=off'],
  debian: join(CACHE, 'debian'),
  root: '',
  programs: [
    ...PROGRAMS,
    ...['curl', 'ip6tables-save', 'iptables-save', 'mount', 'nsenter', 'sh', 'umount', 'unshare'],
  ],
  emulator: [],
  lister: ['ldd'],
  referencePlugins: ['bridge', 'host-local', 'loopback', 'portmap', 'ptp', 'static', 'tuning', 'vlan'],
  bowline: () => BOWLINE,
}

/**
 * The other processor that executables are built for. Emulation of single programs is not enough for ours: qemu-aarch64 7.2
 * translates messages of rtnetlink itself, answers EOPNOTSUPP to those that it does not know, and has no sockets of netfilter.
 */
export const ARM64: Architecture = {
  name: 'arm64',
  qemu: 'qemu-system-aarch64',
  qemuPackage: 'qemu-system-arm',
  // `max` takes longer: it has signed pointers, which are slow to emulate.
  machine: ['-M', 'virt', '-cpu', 'cortex-a72'],
  parameters: ['console=ttyAMA0'],
  debian: ARM64_ROOT,
  root: ARM64_ROOT,
  programs: PROGRAMS,
  emulator: ['qemu-aarch64-static'],
  lister: ['qemu-aarch64-static', '-L', ARM64_ROOT, '-E', 'LD_TRACE_LOADED_OBJECTS=1'],
  referencePlugins: [],
  bowline() {
    execaSync(process.execPath, ['scripts/build/build.ts', '--target', 'arm64'], { cwd: ROOT })
    return `${ROOT}/dist/arm64/bowline`
  },
}
