/** The part of pino that the agent's loops use. */
export type AgentLog = {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
}
