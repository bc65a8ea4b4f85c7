import { existsSync, readFileSync } from 'node:fs'
import { cpus, loadavg, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { run } from '../../test/support/private_namespaces.ts'

/** What the numbers depend on, by name; each a short text. */
export type Machine = Readonly<Record<string, string>>

/** Describes this machine and what is compared on it. `programs` has the reference plugins. */
export function describeMachine(programs: string): Machine {
  const all = cpus()
  const { go, version } = goBuildOf(readFileSync(join(programs, 'bridge')))
  return {
    kernel: `Linux ${release()} ${process.arch}`,
    processors: `${all.length} x ${all[0]?.model.trim() ?? 'unknown'}, governor ${governor()}`,
    memory: `${Math.round(totalmem() / 1e9)} GB, large pages: ${chosen('/sys/kernel/mm/transparent_hugepage/enabled')}`,
    load: `${loadavg()
      .map((load) => load.toFixed(2))
      .join(' ')} (1, 5, 15 minutes) at the start`,
    bowline: `compiled by Bun ${Bun.version}`,
    reference: `bridge and host-local ${version}, built by ${go}; masquerading by ${firstLine('iptables --version')}`,
    disk: `leases and records on ${fileSystem('/var/lib/cni')}, programs on ${fileSystem(programs)}`,
    br_netfilter: bridgeFilter(),
  }
}

/** Whether the machine has other things to do: absolute times are worth little then. */
export function isBusy(): boolean {
  return (loadavg()[0] ?? 0) > cpus().length / 2
}

/** What the Go linker has written into a program. Source: debug/buildinfo, the format since Go 1.18. */
export function goBuildOf(program: Uint8Array): { readonly go: string; readonly version: string } {
  const at = Buffer.from(program.buffer, program.byteOffset, program.length).indexOf(
    '\xff Go buildinf:',
    'latin1',
  )
  const [text = '', rest] = at < 0 ? [] : lengthPrefixed(program, at + 32)
  const [modules = ''] = rest === undefined ? [] : lengthPrefixed(program, rest)
  const version = /^mod\t\S+\t(\S+)/m.exec(modules)?.[1] ?? 'of an unknown version'
  return { go: text || 'an unknown Go', version: version.replace(/^v/, '') }
}

/** A text behind its length, which is in groups of seven bits; and where it ends. */
function lengthPrefixed(bytes: Uint8Array, start: number): [text: string, end: number] {
  let [length, at] = [0, start]
  for (let shift = 0; shift < 28; shift += 7) {
    const byte = bytes[at++] ?? 0
    length |= (byte & 0x7f) << shift
    if (byte < 0x80) break
  }
  return [Buffer.from(bytes.subarray(at, at + length)).toString('utf8'), at + length]
}

function governor(): string {
  const path = '/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor'
  return existsSync(path) ? readFileSync(path, 'utf8').trim() : 'not visible'
}

/** The word in brackets of `always [madvise] never`. */
function chosen(path: string): string {
  return existsSync(path) ? (/\[(\w+)\]/.exec(readFileSync(path, 'utf8'))?.[1] ?? 'unknown') : 'none'
}

function fileSystem(path: string): string {
  return run(`findmnt -n -o FSTYPE -T '${path}'`)
}

function bridgeFilter(): string {
  const path = '/proc/sys/net/bridge/bridge-nf-call-iptables'
  if (!existsSync(path)) return 'not loaded: what a bridge forwards passes no rules of the IP layer'
  return readFileSync(path, 'utf8').trim() === '1'
    ? 'on in each new network namespace: what a bridge forwards passes the rules of the IP layer too'
    : 'off: what a bridge forwards passes no rules of the IP layer'
}

function firstLine(command: string): string {
  return run(`${command} 2>/dev/null || echo nftables`).split('\n')[0] ?? ''
}
