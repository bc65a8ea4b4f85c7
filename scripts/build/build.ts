import { mkdirSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { execaSync } from 'execa'
import { appendImage } from './elf.ts'
import { buildHost, evaluatorOf } from './host.ts'
import { copyModules } from './modules.ts'
import { isTarget, TARGETS, type Target } from './targets.ts'

/*
 * npm run build [-- --target x64|arm64]: makes dist/bowline and the link dist/bowline-ipam; for the processor that this is not,
 * dist/ARCH/ in place of dist/. Three steps: the host and the engine become a program (host.ts); that program evaluates our
 * modules (modules.ts) and writes its heap; the heap is appended to the program (elf.ts).
 */
const root = new URL('../..', import.meta.url).pathname
const native: Target = process.arch === 'arm64' ? 'arm64' : 'x64'

function main(): void {
  const { target = native } = parseArgs({ options: { target: { type: 'string' } } }).values
  if (!isTarget(target)) throw new Error(`--target ${target}: use ${Object.keys(TARGETS).join(' or ')}`)
  const dist = target === native ? `${root}dist` : `${root}dist/${target}`
  // Two builds at once must not write to one file; the last rename wins, and each file is whole.
  const work = `${root}dist/.build-${process.pid}`
  const started = performance.now()
  mkdirSync(work, { recursive: true })
  mkdirSync(dist, { recursive: true })
  try {
    const executable = build(target, work)
    writeFileSync(`${work}/bowline`, executable, { mode: 0o755 })
    renameSync(`${work}/bowline`, `${dist}/bowline`)
    symlinkSync('bowline', `${work}/bowline-ipam`)
    renameSync(`${work}/bowline-ipam`, `${dist}/bowline-ipam`)
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
  const [bytes, seconds] = [statSync(`${dist}/bowline`).size, (performance.now() - started) / 1000]
  const megabytes = (bytes / 1e6).toFixed(2)
  console.log(
    `${dist.slice(root.length)}/bowline: ${megabytes} MB for ${target}, built in ${seconds.toFixed(1)} s`,
  )
}

function build(target: Target, work: string): Uint8Array {
  const host = buildHost(target, root, work)
  const entry = copyModules(root, `${work}/modules`)
  const [command, ...args] = [...evaluatorOf(target, native), host, 'write', entry, `${work}/heap`]
  execaSync(command as string, args, { cwd: `${work}/modules`, stdin: 'ignore', stderr: 'inherit' })
  return appendImage(host, [`${work}/heap.small`, `${work}/heap.large`])
}

main()
