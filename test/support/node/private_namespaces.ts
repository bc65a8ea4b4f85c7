import { dlopen } from 'bun:ffi'
import { readlinkSync } from 'node:fs'
import { execaSync } from 'execa'

const CLONE_NEWNS = 0x20000
const CLONE_NEWNET = 0x40000000

const { symbols: libc } = dlopen('libc.so.6', { unshare: { args: ['i32'], returns: 'i32' } })

let entered = false

/**
 * Moves this process, and what it starts from now on, into a network and a mount namespace of its own, with `lo` up and
 * an empty /run: named namespaces (`ip netns`), sockets and the lock of iptables are nobody else's, so that test files can
 * run at the same time. Throws unless it is really away from the machine's own network.
 */
export function enterPrivateNamespaces(): void {
  const before = currentNetwork()
  if (libc.unshare(CLONE_NEWNET | CLONE_NEWNS) !== 0)
    throw new Error('unshare failed: system tests need root')
  if (currentNetwork() === before) throw new Error('still in the network namespace of the machine')
  entered = true
  run('mount --make-rprivate /')
  run('mount -t tmpfs tmpfs /run; mkdir /run/netns /run/lock; ip link set lo up')
}

/** Leaves the private network for a new one, with `lo` up and nothing else in it. The old one goes with its users. */
export function enterFreshNetwork(): void {
  if (!entered) throw new Error('not in a private network')
  if (libc.unshare(CLONE_NEWNET) !== 0) throw new Error('unshare of the network failed')
  run('ip link set lo up')
}

/**
 * Runs a line of shell in the private network; returns its standard output. Throws with its standard error when it fails,
 * and when the private network was not entered: a clean-up must never reach the machine's own.
 */
export function run(line: string): string {
  if (!entered) throw new Error(`not in a private network: ${line}`)
  return execaSync('sh', ['-ec', line]).stdout
}

function currentNetwork(): string {
  return readlinkSync('/proc/thread-self/ns/net')
}
