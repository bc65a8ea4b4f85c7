import { describe, expect, it } from 'vitest'
import { Fault } from '../../src/core/errors.ts'
import { VERSION } from '../../src/core/version.ts'
import { createFakeCommandLine } from '../fakes/command.ts'

const run = (...args: string[]) => createFakeCommandLine().run(...args)

describe('the command line', () => {
  it('shows what there is: on stderr without a command, as plugins do, else on stdout', () => {
    const { exitCode, stdout, stderr } = run()
    expect([exitCode, stdout]).toEqual([0, ''])
    expect(stderr).toMatch(/^ {2}install +\S/m)
    expect(run('--help').stdout).toBe(stderr)
  })

  it('says its version', () => {
    expect(run('--version')).toMatchObject({ exitCode: 0, stdout: `bowline ${VERSION}` })
  })

  it.each(['install', 'uninstall'])('shows the options of %s, with examples', (command) => {
    const { exitCode, stdout } = run(command, '--help')
    expect(exitCode).toBe(0)
    expect(stdout).toMatch(/--bin-dir DIR +\S[\s\S]*--json +\S[\s\S]*Examples:\n {2}bowline /)
  })

  it.each([...run('--help').stdout.matchAll(/^ {2}([a-z]+) {2,}\S/gm)].map(([, name]) => name ?? ''))(
    'shows the help of %s within 80 columns',
    (command) => {
      const { stdout } = run(command, '--help')
      const wide = stdout.split('\n').filter((line) => line.length > 80)
      // A command is one line, to be copied.
      expect(wide.filter((line) => !line.includes(' | '))).toEqual([])
      expect(stdout).toContain('Usage: ')
    },
  )

  it.each([
    ['pods', 'a', 'b'],
    ['ipam', 'a', 'b'],
  ])('names the word that is one too many: %s %s %s', (...args) => {
    expect(run(...args).stderr).toContain('one word too many: "b"')
  })

  it('says which networks there are when it does not know one', () => {
    const node = createFakeCommandLine()
    node.put('/etc/cni/net.d/10.conflist', { cniVersion: '1.1.0', name: 'lab', plugins: [{ type: 'other' }] })
    const { exitCode, stderr } = node.run('cni', 'add', 'shop', '/run/netns/a')
    expect([exitCode, stderr]).toEqual([2, expect.stringContaining('"shop"; /etc/cni/net.d has lab\n')])
  })

  it('says that no pod is meant, rather than that there is none', () => {
    expect(run('pods', 'web').stdout).toContain('No pod has "web" in its name')
  })

  it.each([
    ['instal', 'did you mean install?'],
    ['isntall', 'did you mean install?'],
    ['insttall', 'did you mean install?'],
  ])('asks whether %s is a slip', (word, question) => {
    expect(run(word)).toMatchObject({ exitCode: 2, stderr: expect.stringContaining(question) })
  })

  it.each(['frobnicate', 'x', '', 'constructor', '__proto__'])('guesses nothing for %j', (word) => {
    const { exitCode, stderr } = run(word)
    expect(exitCode).toBe(2)
    expect(stderr).toContain(`unknown command ${JSON.stringify(word)}\n`)
  })

  it.each([
    [['--cnf', 'x'], 'did you mean --conf?'],
    [['conf'], 'unknown option "conf"'],
    [['--conf'], '--conf: FILE is missing'],
    [['--json=yes'], '--json takes no value'],
  ])('refuses install %j', (args, message) => {
    expect(run('install', ...args)).toMatchObject({ exitCode: 2, stderr: expect.stringContaining(message) })
  })

  it('shows the control characters that a name has, and sends none to the terminal', () => {
    const node = createFakeCommandLine()
    node.put('/etc/cni/net.d/05-\x1b[2Jx\x07.conflist', '{')
    const { stdout } = node.run('doctor')
    expect(stdout).toContain('05-\\u001b[2Jx\\u0007.conflist')
    expect(['\x1b', '\x07'].filter((one) => stdout.includes(one))).toEqual([])
  })

  it.each([
    ['65534', 'sudo bowline pods'],
    ['0', 'Check the owner'],
  ])('tells user %s what to do about what may not be read', (user, hint) => {
    const node = createFakeCommandLine()
    node.put('/proc/self/status', `Name:\tbowline\nUid:\t${user}\t${user}\t${user}\t${user}\n`)
    node.files.list = () => {
      throw new Fault('list /var/lib/cni/bowline: EACCES', { errno: 'EACCES', hint: 'Check the owner.' })
    }
    expect(node.run('pods').stderr).toContain(hint)
  })

  it('prints an error as JSON where it was asked for', () => {
    const { exitCode, json } = run('install', '--json', '--conf', '/none')
    expect(exitCode).toBe(1)
    expect(json).toEqual({
      error: { message: '--conf /none: there is no such file', hint: expect.any(String), code: 7 },
    })
  })
})
