/** An argument of a system call: an integer, a text (UTF-8 with a final NUL), or bytes, passed by address. */
export type Argument = number | string | Uint8Array

/**
 * Everything that the sources need from a JavaScript runtime. Two implementations: quickjs.ts for the executable, bun.ts for
 * tests and the agent; `#runtime` is the one of the program that is built (package.json, scripts/build).
 */
export interface Runtime {
  readonly arch: 'x64' | 'arm64'
  /**
   * Makes a system call of the calling thread. Returns what the kernel returns, a negative errno if it refuses. Throws a
   * TypeError or RangeError for an argument that is none, and for a text with a NUL byte.
   */
  syscall(number: number, ...args: Argument[]): number
  /** Returns the address of bytes, for a structure that contains pointers. Valid as long as the bytes are referenced. */
  addressOf(bytes: Uint8Array): number
  /**
   * Returns the value of the last netlink attribute (struct nlattr) of a type among those from `offset` on, as a view; undefined if
   * there is none. A malformed one ends the list.
   */
  attribute(bytes: Uint8Array, offset: number, type: number): Uint8Array | undefined
  /** Encodes as UTF-8. A surrogate without its partner becomes U+FFFD. */
  utf8(text: string): Uint8Array<ArrayBuffer>
  /** 64 hex digits, of the text's UTF-8. */
  sha256(text: string): string
  /** Runs a program to its end. Its stderr is ours. */
  spawn(request: SpawnRequest): SpawnEnd
}

export type SpawnRequest = {
  readonly path: string
  readonly env: Readonly<Record<string, string>>
  readonly stdin: string
  readonly timeoutMs: number
  readonly maxOutputBytes: number
}

/** The end of a program. Errno and signal are numbers of the kernel. */
export type SpawnEnd =
  | { readonly end: 'notStarted'; readonly errno: number }
  | { readonly end: 'timeout' | 'tooMuchOutput' }
  | { readonly end: 'exit'; readonly exitCode: number; readonly stdout: Uint8Array }
  | { readonly end: 'signal'; readonly signal: number; readonly stdout: Uint8Array }
