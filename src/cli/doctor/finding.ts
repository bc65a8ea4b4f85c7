import type { Paint } from '../screen.ts'

/** Something that a person should know of. Each has a command that mends it, or leads further. */
export type Finding = {
  /** The name of the check, such as `forwarding`. */
  readonly check: string
  readonly level: 'error' | 'warning' | 'info'
  readonly message: string
  readonly hint: string
}

const MARKS = { error: '✗', warning: '!', info: 'i' } as const
const STYLES = { error: 'red', warning: 'yellow', info: 'cyan' } as const

/** A longer list of commands is whole in JSON only. What is shown can be run as it stands. */
const MAX_HINT = 300

/** Returns findings for people, the worst first. */
export function printFindings(findings: readonly Finding[], paint: Paint): string[] {
  const levels = ['error', 'warning', 'info'] as const
  const sorted = levels.flatMap((level) => findings.filter((one) => one.level === level))
  return sorted.flatMap(({ check, level, message, hint }) => [
    `${paint(STYLES[level], MARKS[level])} ${paint('bold', check)}: ${message}`,
    `    ${paint('cyan', shownHint(hint))}`,
  ])
}

function shownHint(hint: string): string {
  if (hint.length <= MAX_HINT) return hint
  const [first = '', ...more] = hint.split(' && ')
  const shown = [first]
  while (shown.join(' && ').length + (more[0]?.length ?? MAX_HINT) < MAX_HINT) shown.push(more.shift() ?? '')
  const rest = more.length > 0 ? ` # and ${more.length} more commands: bowline doctor --json` : ''
  return shown.join(' && ') + rest
}

export function error(check: string, message: string, hint: string): Finding {
  return { check, level: 'error', message, hint }
}

export function warning(check: string, message: string, hint: string): Finding {
  return { check, level: 'warning', message, hint }
}

export function info(check: string, message: string, hint: string): Finding {
  return { check, level: 'info', message, hint }
}
