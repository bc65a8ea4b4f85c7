import type { Argument, Runtime } from './runtime.ts'
import { forkAndExecute } from './spawn.ts'

/** The object that src/native/host.c puts into the global object. */
declare const host: {
  readonly arch: Runtime['arch']
  readonly syscall: (number: number, ...args: Argument[]) => number
  readonly addressOf: (bytes: Uint8Array) => number
  readonly attribute: Runtime['attribute']
  readonly utf8: Runtime['utf8']
  readonly sha256: (text: string) => string
}

const calls = {
  arch: host.arch,
  syscall: host.syscall,
  addressOf: host.addressOf,
  attribute: host.attribute,
  // The engine encodes a lone surrogate as if it were a character.
  utf8: (text: string) => host.utf8(text.toWellFormed()),
  sha256: host.sha256,
}

export const runtime: Runtime = { ...calls, spawn: (request) => forkAndExecute(calls, request) }
