/** The part of pino that the agent's loops use. */
export type AgentLog = {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
}

export type Warning = {
  readonly message: string
  readonly hint?: string | undefined
  /** `warning`: it works, though not as it could. Default: an error. */
  readonly level?: 'warning'
}

/** Returns a function that logs all warnings of a run, if they are not those of the run before. */
export function createWarner(log: Pick<AgentLog, 'warn'>): (warnings: readonly Warning[]) => void {
  let before = ''
  return (warnings) => {
    const all = warnings.map(({ message }) => message).join()
    if (all !== before) for (const { message, hint } of warnings) log.warn({ hint }, message)
    before = all
  }
}
