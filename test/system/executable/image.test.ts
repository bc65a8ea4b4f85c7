import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { NATIVE } from '../../../scripts/build/targets.ts'
import { rootFiles } from '../../../scripts/image/rootfs.ts'

/* What is in the image is enough for both programs to run, and holds nothing else that could be run. */
const ROOT = new URL('../../..', import.meta.url).pathname
const work = mkdtempSync(join(tmpdir(), 'image-'))
const files = rootFiles(ROOT, 'dist', NATIVE).flat()

beforeAll(() => {
  for (const { path, mode, bytes } of files) {
    mkdirSync(dirname(join(work, path)), { recursive: true })
    writeFileSync(join(work, path), bytes)
    chmodSync(join(work, path), mode)
  }
  mkdirSync(join(work, 'proc'))
})
afterAll(() => rmSync(work, { recursive: true }))

/** Runs a program of the image, with nothing around it but /proc, for as long as `isEnough` is false of what it prints. */
async function printed(command: string[], isEnough: (text: string) => boolean): Promise<string> {
  const script = `mount -t proc proc ${work}/proc && exec chroot ${work} ${command.join(' ')}`
  const child = Bun.spawn(['unshare', '-m', 'sh', '-c', script], {
    stdout: 'pipe',
    stderr: 'inherit',
    env: {
      PATH: process.env['PATH'],
      NODE_NAME: 'n1',
      KUBERNETES_SERVICE_HOST: '127.0.0.1',
      KUBERNETES_SERVICE_PORT: '1',
    },
  })
  const decoder = new TextDecoder()
  let text = ''
  for await (const chunk of child.stdout) {
    text += decoder.decode(chunk)
    if (isEnough(text)) child.kill('SIGTERM')
  }
  await child.exited
  return text
}

it('is two programs and the C library of one', () => {
  const names = files.map(({ path }) => path.replace(/^.*\//, '')).sort()
  const library = names.filter((name) => /^(lib[a-z]+\.so\.\d|ld-linux-.*\.so\.\d)$/.test(name))
  expect(names.filter((name) => !library.includes(name))).toEqual(['bowline', 'bowline-agent'])
  expect(library).toContain('libc.so.6')
})

it('lets the executable run', async () => {
  expect(await printed(['/bowline', '--version'], () => false)).toMatch(/^bowline \d/)
})

it('lets the agent run, which outlives that it has neither a token nor a server, and ends when it is told to', async () => {
  const text = await printed(['/bowline-agent'], (soFar) => soFar.includes('retryMs'))
  const lines = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { msg: string; level: number })
  expect(lines[0]?.msg).toBe('bowline-agent starts')
  expect(lines.find(({ level }) => level === 40)?.msg).toContain('/serviceaccount/token')
  expect(lines.at(-1)?.msg).toBe('bowline-agent ends; the plugin goes on without it')
})
