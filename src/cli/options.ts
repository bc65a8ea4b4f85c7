import { Code, Fault } from '../core/errors.ts'
import type { Option, Options } from './command.ts'
import { nearMiss } from './near_miss.ts'

/** The options of every command. */
const ALWAYS: Readonly<Record<string, Option>> = {
  help: { help: 'show this help' },
  json: { help: 'print one JSON object, for programs' },
}

/** An error in the command line itself. */
export class UsageFault extends Fault {}

/** Reads `--name VALUE` and `--name=VALUE`. Throws a UsageFault that names the word, with what was probably meant. */
export function parseOptions(args: readonly string[], own: Readonly<Record<string, Option>>): Options {
  const known = allOptions(own)
  const options: Record<string, string> = {}
  for (let at = 0; at < args.length; at++) {
    const word = args[at] ?? ''
    const [name = '', ...given] = word.slice(2).split('=')
    const option = word.startsWith('--') ? known[name] : undefined
    if (!option)
      throw unknownWord(
        'option',
        word,
        Object.keys(known).map((one) => `--${one}`),
      )
    const isFlag = option.value === undefined
    if (isFlag && given.length > 0) throw usage(`--${name} takes no value`)
    const value = isFlag ? '' : given.length > 0 ? given.join('=') : args[++at]
    if (value === undefined) throw usage(`--${name}: ${option.value} is missing`)
    options[name] = value
  }
  return options
}

export function allOptions(own: Readonly<Record<string, Option>>): Readonly<Record<string, Option>> {
  return { ...own, ...ALWAYS }
}

export function unknownWord(what: string, word: string, words: readonly string[]): UsageFault {
  const meant = nearMiss(word, words)
  return usage(`unknown ${what} ${JSON.stringify(word)}${meant ? `; did you mean ${meant}?` : ''}`)
}

function usage(message: string): UsageFault {
  return new UsageFault(message, { code: Code.invalidEnvironment })
}
