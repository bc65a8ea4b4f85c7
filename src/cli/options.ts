import { Code, Fault } from '../core/errors.ts'
import type { Command, Option, Options } from './command.ts'
import { nearMiss } from './near_miss.ts'

/** The options of every command. */
const ALWAYS: Readonly<Record<string, Option>> = {
  help: { help: 'show this help', short: 'h' },
  json: { help: 'print one JSON object, for programs' },
}

/** An error in the command line itself. */
export class UsageFault extends Fault {}

/**
 * Reads `--name VALUE`, `--name=VALUE`, `-n` and the words of the command. Throws a UsageFault that names what is wrong, with
 * what was probably meant.
 */
export function parseOptions(
  args: readonly string[],
  { options: own, words = [] }: Pick<Command, 'options' | 'words'>,
): Options {
  const known = allOptions(own)
  const options: Record<string, string> = {}
  const given: string[] = []
  for (let at = 0; at < args.length; at++) {
    const word = args[at] ?? ''
    if (!word.startsWith('-') && given.length < words.length) {
      given.push(word)
      continue
    }
    const [name, ...rest] = optionOf(word, known)
    const option = Object.hasOwn(known, name) ? known[name] : undefined
    if (!option) {
      if (words.length > 0 && !word.startsWith('-')) throw usage(`one word too many: ${JSON.stringify(word)}`)
      throw unknownWord(
        'option',
        word,
        Object.keys(known).map((one) => `--${one}`),
      )
    }
    const isFlag = option.value === undefined
    if (isFlag && rest.length > 0) throw usage(`--${name} takes no value`)
    const value = isFlag ? '' : rest.length > 0 ? rest.join('=') : args[++at]
    if (value === undefined) throw usage(`--${name}: ${option.value} is missing`)
    options[name] = value
  }
  for (const [i, word] of words.entries()) {
    const value = given[i]
    if (value !== undefined) options[plainName(word)] = value
    else if (!word.startsWith('[')) throw usage(`${word} is missing`)
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

/** Names the networks that there are: unlike commands they are in no help. */
export function unknownNetwork(word: string, names: readonly string[], confDir: string): UsageFault {
  if (nearMiss(word, names)) return unknownWord('network', word, names)
  const known = names.length > 0 ? names.join(', ') : 'none that can be read (bowline doctor)'
  return usage(`unknown network ${JSON.stringify(word)}; ${confDir} has ${known}`)
}

export function usage(message: string): UsageFault {
  return new UsageFault(message, { code: Code.invalidEnvironment })
}

/** Returns the name of an option, and its value in parts if it is given behind `=`. */
function optionOf(word: string, known: Readonly<Record<string, Option>>): [name: string, ...value: string[]] {
  const short = /^-\w$/.test(word) && Object.entries(known).find(([, { short }]) => `-${short}` === word)
  if (short) return [short[0]]
  const [name = '', ...value] = word.startsWith('--') ? word.slice(2).split('=') : []
  return [name, ...value]
}

function plainName(word: string): string {
  return word.replace(/[[\]]/g, '')
}
