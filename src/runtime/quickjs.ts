import type { Argument, Runtime } from './runtime.ts'
import { forkAndExecute } from './spawn.ts'

/** The object that src/native/host.c puts into the global object. */
declare const host: {
  readonly arch: Runtime['arch']
  readonly syscall: (number: number, ...args: Argument[]) => number
  readonly addressOf: (bytes: Uint8Array) => number
  readonly sha256: (text: string) => string
}

export const runtime: Runtime = {
  arch: host.arch,
  syscall: host.syscall,
  addressOf: host.addressOf,
  sha256: host.sha256,
  spawn: (request) => forkAndExecute(host, request),
}
