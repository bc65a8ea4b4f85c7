import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { BOWLINE } from './plugin.ts'

/** Where the tests of commands for people keep networks: of the sandbox, and gone with it. */
export const CONF_DIR = '/var/lib/net.d'

export type PeopleAnswer = {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
  readonly json: unknown
}

/** Runs a command for people, as a program does: without a terminal. */
export async function bowline(...args: string[]): Promise<PeopleAnswer> {
  const env = { PATH: `${dirname(BOWLINE)}:${process.env['PATH']}` }
  const child = Bun.spawn([BOWLINE, ...args], { stdin: 'ignore', stdout: 'pipe', stderr: 'pipe', env })
  const [stdout, stderr] = await Promise.all(
    [child.stdout, child.stderr].map((one) => new Response(one).text()),
  )
  return {
    exitCode: await child.exited,
    stdout: stdout ?? '',
    stderr: stderr ?? '',
    get json() {
      return JSON.parse(stdout ?? '') as unknown
    },
  }
}

/** Writes the networks of a node, in place of all others. */
export function writeNetworks(networks: Readonly<Record<string, unknown>>): void {
  rmSync(CONF_DIR, { recursive: true, force: true })
  mkdirSync(CONF_DIR, { recursive: true })
  for (const [file, content] of Object.entries(networks)) {
    writeFileSync(`${CONF_DIR}/${file}`, typeof content === 'string' ? content : JSON.stringify(content))
  }
}
