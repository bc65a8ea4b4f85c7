import { mkdirSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { ExecaSyncError } from 'execa'
import { makeAgent } from './agent.ts'
import { makeExecutable } from './executable.ts'
import { isTarget, NATIVE, TARGETS } from './targets.ts'

/*
 * npm run build [-- --target x64|arm64]: builds dist/bowline, the link dist/bowline-ipam, and dist/bowline-agent; in
 * dist/ARCH/ for a processor that this machine does not have.
 */
const root = new URL('../..', import.meta.url).pathname

function main(): void {
  const { target = NATIVE } = parseArgs({ options: { target: { type: 'string' } } }).values
  if (!isTarget(target)) throw new Error(`--target ${target}: use ${Object.keys(TARGETS).join(' or ')}`)
  const dist = target === NATIVE ? 'dist' : `dist/${target}`
  // Two builds at once do not write to one file: the last rename wins, and each file is whole.
  const work = `${root}dist/.build-${process.pid}`
  const started = performance.now()
  mkdirSync(work, { recursive: true })
  try {
    const executable = makeExecutable(target, root, work)
    const agent = makeAgent(target, root, work)
    const agentSize = statSync(agent).size
    mkdirSync(`${root}${dist}`, { recursive: true })
    // Until a file is on the disk, the kernel counts its mapped pages as memory of the processes that run it.
    writeFileSync(`${work}/bowline`, executable, { mode: 0o755, flush: true })
    renameSync(`${work}/bowline`, `${root}${dist}/bowline`)
    symlinkSync('bowline', `${work}/bowline-ipam`)
    renameSync(`${work}/bowline-ipam`, `${root}${dist}/bowline-ipam`)
    renameSync(agent, `${root}${dist}/bowline-agent`)
    const seconds = ((performance.now() - started) / 1000).toFixed(1)
    console.log(
      `${dist}/bowline: ${megabytes(executable.length)}, bowline-agent: ${megabytes(agentSize)}, for ${target}, in ${seconds} s`,
    )
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(2)} MB`
}

try {
  main()
} catch (error) {
  if (!(error instanceof Error)) throw error
  const isMissing = 'code' in error && error.code === 'ENOENT'
  console.error(`build: ${error instanceof ExecaSyncError ? error.shortMessage : error.message}`)
  if (isMissing) console.error('build: A program is missing that the build needs; run: scripts/setup build')
  if (error instanceof ExecaSyncError && error.stderr) console.error(error.stderr)
  process.exitCode = 1
}
