import { quote } from '../core/shell.ts'
import type { Command } from './command.ts'
import { allOptions, unknownWord } from './options.ts'

type Commands = () => Readonly<Record<string, Command>>

const SHELLS: Readonly<Record<string, (commands: ReturnType<Commands>) => string>> = { bash, zsh, fish }

/** Creates the command that prints the completion of all commands for a shell. */
export function completionFor(commands: Commands): Command {
  return {
    summary: 'print the completion of commands and options for a shell',
    words: ['SHELL'],
    options: {},
    examples: [
      ['bowline completion bash >/etc/bash_completion.d/bowline', 'for bash'],
      ['bowline completion zsh >"$' + '{fpath[1]}/_bowline"', 'for zsh'],
      ['bowline completion fish >~/.config/fish/completions/bowline.fish', 'for fish'],
    ],
    run({ SHELL: shell = '' }, { print }) {
      const script = Object.hasOwn(SHELLS, shell) ? SHELLS[shell] : undefined
      if (!script) throw unknownWord('shell', shell, Object.keys(SHELLS))
      print(script(commands()))
      return 0
    },
  }
}

function bash(commands: ReturnType<Commands>): string {
  const cases = Object.entries(commands).map(
    ([name, command]) =>
      `    ${name}) words="${[...firstWords(command), ...optionsOf(command)].join(' ')}" ;;`,
  )
  return [
    '_bowline() {',
    '  local words',
    '  case "$' + '{COMP_WORDS[1]}" in',
    ...cases,
    '  esac',
    `  [ "$COMP_CWORD" -gt 1 ] || words="${Object.keys(commands).join(' ')} --help --version"`,
    '  COMPREPLY=($(compgen -W "$words" -- "$' + '{COMP_WORDS[COMP_CWORD]}"))',
    '}',
    'complete -o default -F _bowline bowline',
  ].join('\n')
}

/** Source: zshcompsys(1), _describe and _arguments. It reads quotes as a POSIX shell does, and so does fish. */
function zsh(commands: ReturnType<Commands>): string {
  const cases = Object.entries(commands).map(([name, command]) => {
    const words = (command.words ?? []).map((word, i) => {
      const known = i === 0 ? firstWords(command) : []
      return `:${plain(word)}:${known.length > 0 ? `(${known.join(' ')})` : '_files'}`
    })
    const options = Object.entries(allOptions(command.options)).flatMap(
      ([option, { help, value, short }]) => {
        const rest = `[${help.replace(/[[\]\\]/g, '\\$&')}]${value === undefined ? '' : `:${plain(value)}:_files`}`
        return [`--${option}${value === undefined ? '' : '='}${rest}`, ...(short ? [`-${short}${rest}`] : [])]
      },
    )
    return `    ${name}) _arguments ${[...words, ...options].map(quote).join(' ')} ;;`
  })
  const described = Object.entries(commands).map(([name, { summary }]) => quote(`${name}:${summary}`))
  return [
    '#compdef bowline',
    '_bowline() {',
    '  if ((CURRENT == 2)); then',
    `    local -a commands=(${described.join(' ')})`,
    '    _describe command commands',
    '    return',
    '  fi',
    '  shift words',
    '  ((CURRENT--))',
    '  case $words[1] in',
    ...cases,
    '  esac',
    '}',
    // The first time, this file is the function.
    '_bowline "$@"',
  ].join('\n')
}

function fish(commands: ReturnType<Commands>): string {
  const lines = Object.entries(commands).flatMap(([name, command]) => [
    `complete -c bowline -n __bowline_command -f -a ${name} -d ${quote(command.summary)}`,
    ...firstWords(command).map((word) => `complete -c bowline -n '__bowline_word ${name}' -f -a ${word}`),
    ...Object.entries(allOptions(command.options)).map(([option, { help, value, short }]) => {
      const form = `-l ${option}${short ? ` -s ${short}` : ''}${value === undefined ? '' : ' -r'}`
      return `complete -c bowline -n '__bowline_in ${name}' ${form} -d ${quote(help)}`
    }),
  ])
  return [
    'function __bowline_command; test (count (commandline -opc)) -eq 1; end',
    'function __bowline_in; set -l words (commandline -opc); test "$words[2]" = $argv[1]; end',
    'function __bowline_word; test (count (commandline -opc)) -eq 2; and __bowline_in $argv; end',
    ...lines,
  ].join('\n')
}

/** Returns a word of the usage without signs that the shell would read. */
function plain(word: string): string {
  return word.replace(/[^\w-]/g, ' ').trim()
}

/** Returns what the first word of a command may be, where it is one of a few. */
function firstWords({ words: [first = ''] = [] }: Command): string[] {
  return first === 'SHELL' ? Object.keys(SHELLS) : first.includes('|') ? first.split('|') : []
}

function optionsOf({ options }: Command): string[] {
  return Object.keys(allOptions(options)).map((name) => `--${name}`)
}
