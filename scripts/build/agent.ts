import { execaSync } from 'execa'
import type { Target } from './targets.ts'

/** Neither a .env file nor a bunfig.toml of the directory that the agent is started in may change what it does. */
const OWN_SETTINGS_ONLY = ['--no-compile-autoload-dotenv', '--no-compile-autoload-bunfig']

/**
 * Compiles bowline-agent, with Bun in it, and returns its path in `work`. Bun for another processor is downloaded once, by Bun itself, as
 * the package of the npm registry that has its version.
 */
export function makeAgent(target: Target, root: string, work: string): string {
  const output = `${work}/bowline-agent`
  const options = ['--compile', `--target=bun-linux-${target}`, '--format=esm', '--minify', '--bytecode']
  const args = ['build', ...options, ...OWN_SETTINGS_ONLY, `${root}src/agent.ts`, '--outfile', output]
  execaSync(`${root}node_modules/.bin/bun`, args, { cwd: work, stdin: 'ignore' })
  return output
}
