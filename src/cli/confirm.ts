import type { CommandContext, Option, Options } from './command.ts'

export const YES_OPTION: Readonly<Record<string, Option>> = {
  yes: { help: 'do it at once, without a question', short: 'y' },
}

/** Returns whether the person wants it. Where nobody can be asked, only `--yes` says so. */
export function isConfirmed(options: Options, { machine, warn }: CommandContext): boolean {
  if (options['yes'] !== undefined) return true
  if (options['json'] === undefined && machine.isTerminal(0) && machine.isTerminal(2)) {
    machine.show('Do this? [y/N] ')
    return /^y(es)?$/i.test(machine.readLine())
  }
  warn('bowline: nothing was done; add --yes to do it')
  return false
}
