/** The machine port: the clock, the terminal, and logs. Everything that commands for people and logs ask beside disk and network. */
export interface Machine {
  /** Milliseconds since 1970, with a fraction. */
  now(): number
  pid(): number
  hostname(): string
  /** When a file was last changed, in milliseconds since 1970; undefined if there is none. */
  modified(path: string): number | undefined
  /** The SELinux label of a file, '' where there is none. */
  selinuxLabel(path: string): string
  /** Whether this descriptor (0 to 2) is a terminal. */
  isTerminal(fd: number): boolean
  /** How many characters a line of the terminal has; 80 where none is known. */
  columns(): number
  /** Reads one line of standard input. */
  readLine(): string
  /** Writes to stderr, without a line feed. */
  show(text: string): void
  /**
   * Adds lines to a log, in one write, so that processes do not mix theirs. A log that becomes longer than `maxBytes` is
   * renamed to `PATH.1`, in place of an older one. Throws a Fault if the disk refuses.
   */
  appendLog(path: string, lines: string, maxBytes: number): void
}
