import { beforeEach, describe, expect, it } from 'vitest'
import { createFakeCommandLine, type FakeCommandLine } from '../fakes/command.ts'
import { readConflist } from '../support/node/plugin.ts'

const SHIPPED = readConflist('10-bowline')
const [OURS] = SHIPPED.plugins
const FILE = '/etc/cni/net.d/10-bowline.conflist'
const MESH = { type: 'linkerd-cni', name: 'linkerd-cni' }

let node: FakeCommandLine
beforeEach(() => {
  node = createFakeCommandLine()
  node.stdin = JSON.stringify(SHIPPED)
  node.run('install', '--conf', '-')
})

const files = () => Object.keys(node.files.dump()).filter((path) => /^\/(opt|etc)\/.*[^/]$/.test(path))

describe('uninstall', () => {
  it('takes away the conflist and both names of the program', () => {
    const { exitCode, json } = node.run('uninstall', '--json')
    expect(exitCode).toBe(0)
    expect(json).toEqual({
      version: expect.any(String),
      program: 'removed',
      conflist: 'removed',
      warnings: [],
    })
    expect(node.files.list('/opt/cni/bin')).toEqual([])
    expect(node.files.list('/etc/cni/net.d')).toEqual([])
  })

  it('takes the conflist first, so that no pod starts with what is about to go', () => {
    const removed: string[] = []
    node.files.onOperation = ({ name, path, phase }) => {
      if (name === 'remove' && phase === 'before') removed.push(path)
    }
    node.run('uninstall')
    expect(removed.slice(0, 3)).toEqual([FILE, '/opt/cni/bin/bowline-ipam', '/opt/cni/bin/bowline'])
  })

  it('succeeds again when nothing is there', () => {
    node.run('uninstall')
    expect(node.run('uninstall', '--json').json).toMatchObject({ program: 'absent', conflist: 'absent' })
  })

  it('leaves files of others, and in ours the plugins of others, with a warning', () => {
    node.put('/opt/cni/bin/portmap', 'x', 0o755)
    node.put('/etc/cni/net.d/20-other.conflist', {})
    node.put(FILE, { ...SHIPPED, plugins: [OURS, MESH] }, 0o600)
    const { json } = node.run('uninstall', '--json')
    expect(json).toMatchObject({ conflist: 'changed', warnings: [expect.stringContaining('linkerd-cni')] })
    expect(node.get(FILE)).toEqual({ ...SHIPPED, plugins: [MESH] })
    expect(node.files.modeOf(FILE)).toBe(0o600)
    expect(files()).toEqual([FILE, '/etc/cni/net.d/20-other.conflist', '/opt/cni/bin/portmap'])
  })

  it('takes every plugin of the list that is given', () => {
    const portmap = { type: 'portmap', capabilities: { portMappings: true } }
    node.put(FILE, { ...SHIPPED, plugins: [OURS, portmap] })
    node.stdin = JSON.stringify({ ...SHIPPED, plugins: [OURS, portmap] })
    expect(node.run('uninstall', '--conf', '-', '--json').json).toMatchObject({ conflist: 'removed' })
  })

  it.each([JSON.stringify({ ...SHIPPED, plugins: [MESH] }), '{"plugins": [{"type": "bowl'])(
    'does not touch a file of our name that has no plugin of ours, and names it: %s',
    (text) => {
      node.put(FILE, text)
      const { json } = node.run('uninstall', '--json')
      expect(json).toMatchObject({
        conflist: 'absent',
        warnings: [expect.stringContaining(`run: rm ${FILE}`)],
      })
      expect(node.files.readForeign(FILE)).toBe(text)
    },
  )

  it('refuses while pods are attached, before anything is touched, unless it is forced', () => {
    node.attachments = 3
    const before = files()
    const { exitCode, stderr } = node.run('uninstall')
    expect([exitCode, files()]).toEqual([1, before])
    expect(stderr).toContain('pods are attached to the network of this node: 3')
    expect(stderr).toContain('kubectl drain')
    expect(node.run('uninstall', '--force').exitCode).toBe(0)
    expect(files()).toEqual([])
  })
})
