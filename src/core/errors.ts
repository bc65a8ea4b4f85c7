/** CNI error codes. Source: the CNI specification 1.1.0, section "Error"; 100 and up are ours. */
export const Code = {
  incompatibleVersion: 1,
  invalidEnvironment: 4,
  io: 5,
  decode: 6,
  invalidConfig: 7,
  invalidNetns: 8,
  tryLater: 11,
  notAvailable: 50,
  limitedConnectivity: 51,
  poolExhausted: 100,
  addressInUse: 101,
  checkFailed: 102,
  incompleteRemoval: 103,
  interfaceExists: 104,
  newerState: 105,
  internal: 999,
} as const

export type FaultOptions = {
  /** A CNI error code, see `Code`. Default: the code of `cause`, else `Code.internal`. */
  code?: number | undefined
  /** The kernel's name of the error, such as `EEXIST`. Default: that of `cause`. */
  errno?: string | undefined
  /** The remedy: one imperative sentence. Default: that of `cause`. */
  hint?: string | undefined
  cause?: unknown
}

/** The one error class. `message` names the action, outermost first, or the mistake. */
export class Fault extends Error {
  readonly code: number
  readonly errno: string | undefined
  readonly hint: string | undefined

  constructor(message: string, options: FaultOptions = {}) {
    super(message, { cause: options.cause })
    this.name = 'Fault'
    const inner = options.cause instanceof Fault ? options.cause : undefined
    this.code = options.code ?? inner?.code ?? Code.internal
    this.errno = options.errno ?? inner?.errno
    this.hint = options.hint ?? inner?.hint
  }
}

/** Returns what was thrown as a Fault. */
export function toFault(error: unknown): Fault {
  if (error instanceof Fault) return error
  return new Fault(error instanceof Error ? error.message : String(error), { cause: error })
}

/** Reports whether `error` is a Fault with one of these errno names. */
export function isErrno(error: unknown, ...errnos: string[]): boolean {
  return error instanceof Fault && error.errno !== undefined && errnos.includes(error.errno)
}

/** Runs `work`. Wraps an error in a Fault whose message begins with `action`. */
export function withAction<T>(action: string, work: () => T, options: FaultOptions = {}): T {
  try {
    return work()
  } catch (error) {
    const inner = error instanceof Error ? error.message : String(error)
    throw new Fault(`${action}: ${inner}`, { ...options, cause: error })
  }
}

/** Runs `work`. Returns normally on a Fault with one of these errnos; rethrows any other error. */
export function ignoreErrnos(errnos: readonly string[], work: () => void): void {
  try {
    work()
  } catch (error) {
    if (!isErrno(error, ...errnos)) throw error
  }
}

/** Runs every step and returns the errors: a removal goes on after a failure. */
export function collectFaults(steps: readonly (() => unknown)[]): Fault[] {
  const faults: Fault[] = []
  for (const step of steps) {
    try {
      step()
    } catch (error) {
      faults.push(toFault(error))
    }
  }
  return faults
}
