import { existsSync, readFileSync } from 'node:fs'
import { cpus, loadavg, release } from 'node:os'
import { join } from 'node:path'
import { CACHE } from '../../test/support/node/plugin.ts'
import { run } from '../../test/support/node/private_namespaces.ts'

const BRIDGE_FILTER = '/proc/sys/net/bridge/bridge-nf-call-iptables'

/** Describes the conditions of the measurement in lines of text. `plugins` is the directory of the compared plugins. */
export function describeMachine(plugins: string): string {
  const all = cpus()
  const [load = 0] = loadavg()
  const version = readFileSync(join(CACHE, 'log/reference-plugins.version'), 'utf8').trim()
  const isFiltered = existsSync(BRIDGE_FILTER) && readFileSync(BRIDGE_FILTER, 'utf8').trim() === '1'
  const lines = [
    `${all.length} x ${all[0]?.model.trim() ?? 'unknown processor'}, Linux ${release()} ${process.arch}, load ${load.toFixed(2)}`,
    `reference: bridge and host-local ${version}, static and stripped; masquerading by ${run('iptables --version')}`,
    `leases and records on ${fileSystem('/var/lib/cni')}, programs on ${fileSystem(`$(readlink -f ${plugins}/bridge)`)}`,
    `what a bridge forwards passes ${isFiltered ? 'the' : 'no'} rules of the IP layer (bridge-nf-call-iptables)`,
    'Times are from the start of a process to its end; ratios are medians of the ratios of each round.',
  ]
  if (load > all.length / 2) lines.push(BUSY)
  return lines.join('\n')
}

const BUSY =
  'This machine is busy with other things, so the ratios scatter. Wait, or try: nice -n -20 npm run bench'

function fileSystem(path: string): string {
  return run(`findmnt -n -o FSTYPE -T ${path}`)
}
