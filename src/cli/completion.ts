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

/** zsh reads completions of bash. */
function zsh(commands: ReturnType<Commands>): string {
  return ['#compdef bowline', 'autoload -U +X bashcompinit && bashcompinit', bash(commands)].join('\n')
}

function fish(commands: ReturnType<Commands>): string {
  const complete = 'complete -c bowline'
  const quoted = (text: string) => `'${text.replaceAll("'", "\\'")}'`
  return Object.entries(commands)
    .flatMap(([name, command]) => [
      `${complete} -n __fish_use_subcommand -a ${name} -d ${quoted(command.summary)}`,
      ...firstWords(command).map((word) => `${complete} -n '__fish_seen_subcommand_from ${name}' -a ${word}`),
      ...Object.entries(allOptions(command.options)).map(
        ([option, { help, value }]) =>
          `${complete} -n '__fish_seen_subcommand_from ${name}' -l ${option}${value === undefined ? '' : ' -r'} -d ${quoted(help)}`,
      ),
    ])
    .join('\n')
}

/** Returns what the first word of a command may be, where it is one of a few. */
function firstWords({ words: [first = ''] = [] }: Command): string[] {
  return first === 'SHELL' ? Object.keys(SHELLS) : first.includes('|') ? first.split('|') : []
}

function optionsOf({ options }: Command): string[] {
  return Object.keys(allOptions(options)).map((name) => `--${name}`)
}
