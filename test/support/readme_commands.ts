import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'

const README = readFileSync(resolve(import.meta.dirname, '../../conf/README.md'), 'utf8').split('\n')

/** The lines of conf/README.md that end the masquerading which the reference `bridge` made of pods, by its backend. */
export const MASQUERADE_COMMANDS = {
  iptables: lineOf('iptables-save -t nat |'),
  nftables: lineOf('nft delete table inet cni_plugins_masquerade'),
} as const

function lineOf(start: string): string {
  const line = README.find((one) => one.trim().startsWith(start))
  if (line === undefined) throw new Error(`conf/README.md has no line "${start}"`)
  return line
}
