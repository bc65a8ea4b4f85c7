import { dlopen } from 'bun:ffi'
import { unlinkSync, writeFileSync } from 'node:fs'
import { close } from '../../../src/kernel/linux/disk.ts'
import { enterNamespace, openNamespace } from '../../../src/kernel/linux/net.ts'

/* Named network namespaces as `ip netns` makes them, but without a process for each: in an emulated machine one takes 80 ms. */

const CLONE_NEWNET = 0x40000000
const MS_BIND = 0x1000
const MNT_DETACH = 2
const OWN = '/proc/thread-self/ns/net'

const { symbols: libc } = dlopen('libc.so.6', {
  unshare: { args: ['i32'], returns: 'i32' },
  mount: { args: ['cstring', 'cstring', 'cstring', 'u64', 'ptr'], returns: 'i32' },
  umount2: { args: ['cstring', 'i32'], returns: 'i32' },
})

/** Makes an empty namespace; returns its path. */
export function makeNetns(name: string): string {
  const path = `/run/netns/${name}`
  writeFileSync(path, '', { flag: 'wx' })
  const home = openNamespace(OWN)
  try {
    check('unshare', libc.unshare(CLONE_NEWNET))
    check('mount', libc.mount(text(OWN), text(path), text('none'), MS_BIND, null))
  } finally {
    enterNamespace(home)
    close(home)
  }
  return path
}

/** The namespace goes when the last one who has it open does. */
export function unmakeNetns(path: string): void {
  check('umount', libc.umount2(text(path), MNT_DETACH))
  unlinkSync(path)
}

function check(what: string, result: number): void {
  if (result !== 0) throw new Error(`${what} of a network namespace failed`)
}

function text(value: string): Buffer {
  return Buffer.from(`${value}\0`)
}
