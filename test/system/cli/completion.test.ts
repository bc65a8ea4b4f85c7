import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { execa } from 'execa'
import { beforeAll, describe, expect, it } from 'vitest'
import { bowline } from '../../support/node/people.ts'
import { BOWLINE } from '../../support/node/plugin.ts'

/* What is printed for each shell, in that shell: the beginning of a line, and what the Tab key makes of it. */
const CASES: readonly [typed: string, completed: string][] = [
  ['bowline rep', 'bowline repair'],
  ['bowline logs --fo', 'bowline logs --follow'],
  ['bowline cni ch', 'bowline cni check'],
  ['bowline cni gc --cap', 'bowline cni gc --cap-args'],
  ['bowline completion f', 'bowline completion fish'],
]

/** Of the sandbox, and gone with it. */
const directory = '/var/lib/completion'
const env = { HOME: directory, PATH: `${dirname(BOWLINE)}:${process.env['PATH']}`, TERM: 'xterm' }

beforeAll(async () => {
  mkdirSync(join(directory, '.config/fish/completions'), { recursive: true })
  for (const [shell, file] of [
    ['bash', 'bash'],
    ['zsh', '_bowline'],
    ['fish', '.config/fish/completions/bowline.fish'],
  ] as const) {
    const { stdout } = await bowline('completion', shell)
    writeFileSync(join(directory, file), stdout)
  }
})

const run = async (file: string, ...args: string[]) =>
  (await execa(file, args, { env, extendEnv: false, cwd: directory, timeout: 30_000 })).stdout

it.each(CASES)('bash makes of "%s" "%s"', async (typed, completed) => {
  const script = `source ./bash; COMP_WORDS=(${typed}); COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); _bowline; echo "\${COMPREPLY[@]}"`
  expect(await run('bash', '-c', script)).toBe(completed.split(' ').at(-1))
})

describe('fish', () => {
  const complete = async (typed: string) =>
    (await run('fish', '-c', `complete -C '${typed}'`)).split('\n').map((line) => line.split('\t')[0])

  it.each(CASES)('makes of "%s" "%s"', async (typed, completed) => {
    expect(await complete(typed)).toEqual([completed.split(' ').at(-1)])
  })

  it('offers commands alone for the first word, and no file', async () => {
    expect(await complete('bowline ')).toEqual(expect.arrayContaining(['doctor', 'pods', 'status']))
    expect(await complete('bowline b')).toEqual([''])
  })
})

// A terminal of its own, in which a key after the Tab tells what stands on the line.
const ZSH = `zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell 'PS1=; fpath=($PWD $fpath); autoload -U compinit; compinit -u -D; report() { print -r -- $BUFFER >>told; BUFFER= }; zle -N report; bindkey "^X" report; : >ready'
until [[ -e ready ]]; do sleep 0.02; done
for typed in "$@"; do zpty -w -n shell "$typed"$'\\t\\x18'; done
integer tries=0
until [[ -e told && $(wc -l <told) -ge $# ]] || ((++tries > 1000)); do sleep 0.02; zpty -r -t shell ignored; done
zpty -d shell
cat told`

it('zsh makes of each line the same, from its first Tab on', async () => {
  const told = await run('zsh', '-f', '-c', ZSH, 'zsh', ...CASES.map(([typed]) => typed))
  // It puts a space, or the sign before a value, behind what is whole.
  expect(told.split('\n').map((line) => line.replace(/[ =]$/, ''))).toEqual(
    CASES.map(([, completed]) => completed),
  )
})
