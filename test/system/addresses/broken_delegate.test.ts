import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { hasNotStarted } from '../../../src/cni/delegate.ts'
import { createPluginRunner } from '../../../src/kernel/linux/spawn.ts'
import { faultOf } from '../../support/fault_of.ts'
import { type PluginAnswer, runPlugin } from '../../support/node/plugin.ts'
import {
  clearNode,
  createNetns,
  enterSandbox,
  type Netns,
  NOTHING,
  residue,
} from '../../support/node/sandbox.ts'

/*
 * An IPAM plugin that is another program, and is broken in every way that a file can be. The runtime gets a hint, and
 * nothing stays that no DEL could take away.
 */
let directory: string
let pod: Netns

beforeAll(() => {
  enterSandbox()
  pod = createNetns('pod')
})
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'bowline-'))
  await clearNode()
})
afterEach(() => rmSync(directory, { recursive: true }))

/** The text is that of the file; undefined is an empty directory in its stead. */
function place(text: string | undefined, mode = 0o755, below = directory): void {
  const path = join(below, 'other-ipam')
  if (text === undefined) mkdirSync(path)
  else writeFileSync(path, text)
  chmodSync(path, mode)
}

function call(command: 'ADD' | 'DEL', ipam = 'other-ipam', cniPath = directory): Promise<PluginAnswer> {
  const config = { cniVersion: '1.1.0', name: 'net', type: 'bowline', mode: 'l3', ipam: { type: ipam } }
  return runPlugin({ command, config, containerId: 'c1', netns: pod.path, cniPath })
}

function linkToText(path: string): void {
  writeFileSync(`${path}.txt`, GOOD, { mode: 0o644 })
  symlinkSync(`${path}.txt`, path)
}

const GOOD = `#!/bin/sh\n[ "$CNI_COMMAND" = DEL ] || echo '{"cniVersion":"1.1.0","ips":[{"address":"10.1.0.5/24"}]}'\n`

describe('a delegated plugin that can not be started', () => {
  it.each([
    ['is no program', 'garbage', 'ENOEXEC'],
    ['has an interpreter that is not there', '#!/nowhere/sh\n', 'ENOENT'],
    ['is of another machine', `\x7fELF\x02\x01\x01${'\0'.repeat(60)}`, 'ENOEXEC'],
  ])('because it %s, is told with a hint, and leaves nothing', async (_, text, errno) => {
    place(text)
    const { output } = await call('ADD')
    expect(output).toMatchObject({ code: 5, msg: `start plugin ${directory}/other-ipam: ${errno}` })
    expect(output.details).toContain('See that it is a program for this machine')
    expect(await residue()).toEqual(NOTHING)
    // As DEL does when the administrator has given up on it.
    expect(await call('DEL', 'bowline-ipam')).toMatchObject({ exitCode: 0 })
  })

  it.each<[string, (path: string) => void]>([
    ['a link that leads nowhere', (path) => symlinkSync('/nowhere', path)],
    ['a link to a directory', (path) => symlinkSync('/', path)],
    ['a link to a file that may not be executed', linkToText],
    ['a directory', (path) => mkdirSync(path)],
  ])('because it is %s, hides none that comes later in CNI_PATH', async (_, make) => {
    const later = join(directory, 'later')
    mkdirSync(later)
    place(GOOD, 0o755, later)
    make(join(directory, 'other-ipam'))
    const cniPath = `${directory}:${later}`
    expect(await call('ADD', 'other-ipam', directory)).toMatchObject({ exitCode: 1, output: { code: 7 } })
    expect(await residue()).toEqual(NOTHING)
    const added = await call('ADD', 'other-ipam', cniPath)
    expect(added.output.ips).toMatchObject([{ address: '10.1.0.5/24' }])
    expect(await call('DEL', 'other-ipam', cniPath)).toMatchObject({ exitCode: 0 })
    expect(await residue()).toEqual(NOTHING)
  })

  it('is none that stands behind a link', async () => {
    place(GOOD)
    const links = join(directory, 'links')
    mkdirSync(links)
    symlinkSync('../other-ipam', join(links, 'other-ipam'))
    expect((await call('ADD', 'other-ipam', links)).output.ips).toMatchObject([{ address: '10.1.0.5/24' }])
    expect(await call('DEL', 'other-ipam', links)).toMatchObject({ exitCode: 0 })
  })
})

describe('a delegated plugin that fails', () => {
  it.each([
    ['is killed', 'kill -KILL $$', 'failed to ADD: ended by SIGKILL', /dmesg/],
    [
      'is killed in the middle of its answer',
      `echo '{"msg":"no"}'; kill -TERM $$`,
      'ended by SIGTERM',
      /dmesg/,
    ],
    ['says nothing', 'exit 3', 'failed to ADD: exit status 3, no message', /log for what .* stderr/],
    ['prints no JSON', 'echo hello', 'printed no JSON: "hello\\n"', /one JSON object on stdout/],
    ['prints without end', 'exec yes', 'printed more than 1048576 bytes', /one JSON object on stdout/],
  ])('because it %s, is told with a hint, gets its DEL, and leaves nothing', async (_, act, says, hint) => {
    place(`#!/bin/sh\necho $CNI_COMMAND >>${directory}/asked\n[ $CNI_COMMAND = DEL ] || { ${act}; }\n`)
    const { output } = await call('ADD')
    expect(output.msg).toContain(says)
    expect(output.details).toMatch(hint)
    expect(readFileSync(`${directory}/asked`, 'utf8')).toBe('ADD\nDEL\n')
    expect(await residue()).toEqual(NOTHING)
  })

  it('because it takes too long is ended, whether or not it wants to', () => {
    place(`#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 1; done\n`)
    const run = () =>
      createPluginRunner(300).run(join(directory, 'other-ipam'), { PATH: '/usr/bin:/bin' }, '')
    const fault = faultOf(run)
    expect(fault.message).toContain('did not end within 0.3 s')
    expect(fault.hint).toContain('Find out what it waits for')
    expect(hasNotStarted(fault)).toBe(false)
  })
})
