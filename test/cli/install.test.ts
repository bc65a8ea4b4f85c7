import { beforeEach, describe, expect, it } from 'vitest'
import { createFakeCommandLine, type FakeCommandLine } from '../fakes/command.ts'
import { Killed } from '../fakes/files.ts'
import { readConflist } from '../support/node/plugin.ts'

const SHIPPED = readConflist('10-bowline')
const [OURS] = SHIPPED.plugins
const FILE = '/etc/cni/net.d/10-bowline.conflist'
const PROGRAM = '/opt/cni/bin/bowline'
const LINK = '/opt/cni/bin/bowline-ipam'
const MESH = { type: 'linkerd-cni', name: 'linkerd-cni', 'proxy-uid': 2102 }

let node: FakeCommandLine
beforeEach(() => {
  node = createFakeCommandLine()
})

/** Installs a list; what it prints as JSON. */
function install(list: unknown = SHIPPED, ...args: string[]) {
  node.stdin = typeof list === 'string' ? list : JSON.stringify(list)
  return node.run('install', '--json', '--conf', '-', ...args)
}

function text(path: string): string | undefined {
  const bytes = node.files.readProgram(path)
  return bytes && new TextDecoder().decode(bytes).trim()
}

/** The paths that are written, in order, while `work` runs. */
function writes(work: () => unknown): string[] {
  const paths: string[] = []
  node.files.onOperation = ({ name, path, phase }) => {
    if (phase === 'before' && /^(publish|create|replace|writeAt|remove)/.test(name)) paths.push(path)
  }
  work()
  node.files.onOperation = undefined
  return paths
}

describe('a first installation', () => {
  it('copies the program, its link and last the conflist', () => {
    expect(writes(() => install())).toEqual([PROGRAM, LINK, FILE])
    expect([text(PROGRAM), text(LINK), node.get(FILE)]).toEqual(['the program', 'the program', SHIPPED])
    expect([PROGRAM, FILE].map((path) => node.files.modeOf(path))).toEqual([0o755, 0o644])
  })

  it('says so', () => {
    expect(install().json).toEqual({
      version: expect.any(String),
      program: 'installed',
      conflist: 'installed',
      warnings: [],
    })
  })

  it('warns of keys that nothing reads and somebody has misspelt', () => {
    const plugin = { ...OURS, ipMask: true, other: 1, capabilities: { portMapping: true, deviceID: true } }
    expect(install({ ...SHIPPED, plugins: [plugin] }).json).toMatchObject({
      conflist: 'installed',
      warnings: [
        'nothing reads the key "ipMask"; did you mean "ipMasq"?',
        'nothing reads the key "capabilities.portMapping"; did you mean "portMappings"?',
      ],
    })
  })

  it('says how a relative path of a conflist is written', () => {
    const hintOf = (path: string) => node.run('install', '--conf', path).stderr
    expect(hintOf('conf/my.conflist')).toContain('--conf "$PWD/conf/my.conflist"')
    expect(hintOf('./my.conflist')).toContain('--conf "$PWD/my.conflist"')
  })

  it('takes other directories and a file', () => {
    node.put('/root/my.conflist', SHIPPED)
    node.run('install', '--bin-dir', '/b/', '--conf-dir=/c', '--conf', '/root/my.conflist')
    expect([text('/b/bowline-ipam'), node.get('/c/10-bowline.conflist')]).toEqual(['the program', SHIPPED])
    expect(node.calls[0]?.cniPath).toBe('/b')
  })

  it('without a conflist installs the program alone', () => {
    expect(node.run('install', '--json').json).toMatchObject({ program: 'installed', conflist: 'absent' })
    expect(node.get(FILE)).toBeUndefined()
  })
})

describe('an installation that is there', () => {
  it('is not written again', () => {
    install()
    expect(writes(() => install())).toEqual([])
    expect(install().json).toMatchObject({ program: 'unchanged', conflist: 'unchanged' })
  })

  it('is not written again when a mesh has sorted its keys', () => {
    install()
    node.put(FILE, sortedKeys(SHIPPED))
    expect(writes(() => install())).toEqual([])
  })

  it('gets another program by a new file, and its link stays', () => {
    node.put(PROGRAM, 'an older program', 0o755)
    node.files.publishLink(LINK, 'bowline')
    expect(writes(() => install())).toEqual([PROGRAM, LINK, FILE])
    expect([text(PROGRAM), text(LINK)]).toEqual(['the program', 'the program'])
  })

  it('gets a program that may be executed', () => {
    install()
    node.put(PROGRAM, text(PROGRAM)?.padEnd(32), 0o600)
    install()
    expect(node.files.modeOf(PROGRAM)).toBe(0o755)
  })

  it.each(['{"half', '', '[]', '{"plugins":[]}', '{"plugins":["x"]}'])(
    'is written anew when its conflist is %j',
    (broken) => {
      node.put(FILE, broken)
      install()
      expect(node.get(FILE)).toEqual(SHIPPED)
    },
  )
})

describe('what others have written into our conflist', () => {
  const portmap = { type: 'portmap', capabilities: { portMappings: true } }
  const changed = { ...SHIPPED, plugins: [{ ...OURS, mtu: 1400 }] }

  it('stays, in its order, with unknown keys and the mode of the file', () => {
    node.put(FILE, { mesh: { owner: 'us' }, ...SHIPPED, plugins: [portmap, OURS, MESH] }, 0o600)
    install(changed)
    expect(node.get(FILE)).toEqual({
      mesh: { owner: 'us' },
      ...changed,
      plugins: [portmap, changed.plugins[0], MESH],
    })
    expect(node.files.modeOf(FILE)).toBe(0o600)
  })

  it('stays behind our plugin when that was taken out', () => {
    node.put(FILE, { ...SHIPPED, plugins: [MESH] })
    install()
    expect(node.get(FILE)).toEqual({ ...SHIPPED, plugins: [OURS, MESH] })
  })

  it('lets a plugin that our list has too be as we want it, and a new one come after ours', () => {
    node.put('/opt/cni/bin/portmap', 'x', 0o755)
    node.put('/opt/cni/bin/bandwidth', 'x', 0o755)
    node.put(FILE, { ...SHIPPED, plugins: [OURS, MESH, portmap] })
    const wanted = [OURS, { type: 'bandwidth' }, { ...portmap, snat: true }]
    install({ ...SHIPPED, plugins: wanted })
    expect(node.get(FILE)).toMatchObject({ plugins: [OURS, { type: 'bandwidth' }, MESH, wanted[2]] })
  })

  it('does not keep a key of the specification that we no longer set', () => {
    node.put(FILE, { ...SHIPPED, disableCheck: true })
    install()
    expect(node.get(FILE)).toEqual(SHIPPED)
  })

  it('is not touched when nothing changes', () => {
    node.put(FILE, { ...SHIPPED, plugins: [OURS, MESH] })
    expect(writes(() => install())).not.toContain(FILE)
  })
})

describe('a conflist that would not work', () => {
  const withOurs = (more: object) => ({ ...SHIPPED, plugins: [{ ...OURS, ...more }] })

  it.each<[unknown, string]>([
    ['{', 'no JSON object'],
    ['{"name":"x"}', '"plugins"'],
    [{ ...SHIPPED, plugins: [MESH] }, 'none has the type "bowline"'],
    [{ ...SHIPPED, plugins: [OURS, { type: '../sh' }] }, 'plugins[1].type'],
    [{ ...SHIPPED, name: 'a/b' }, '"name"'],
    [{ ...SHIPPED, cniVersion: '9.0.0' }, '9.0.0'],
    [{ ...SHIPPED, cniVersions: ['1.0.0', '3.1'] }, '3.1'],
    [withOurs({ mtu: 'big' }), 'mtu'],
    [withOurs({ mode: 'l4' }), 'mode'],
    [withOurs({ ipam: { type: 'bowline-ipam', ranges: [[{ subnet: '10.0.0.1/33' }]] } }), '10.0.0.1/33'],
    [{ ...SHIPPED, plugins: [OURS, { type: 'portmap' }] }, 'no plugin portmap in /opt/cni/bin'],
  ])('is refused before anything is touched: %j', (list, word) => {
    expect(
      writes(() => {
        const { exitCode, json } = install(list)
        expect(exitCode).toBe(1)
        expect(json).toMatchObject({ error: { message: expect.stringContaining(word) } })
      }),
    ).toEqual([])
  })

  it('is refused when STATUS of our plugin fails, with its words', () => {
    node.answer = { exitCode: 1, stdout: '{"code":50,"msg":"all is taken","details":"Free some."}' }
    const { exitCode, json } = install()
    expect(exitCode).toBe(1)
    expect(json).toEqual({
      error: {
        message: 'pods could not be started with this configuration: all is taken',
        hint: 'Free some.',
        code: 50,
      },
    })
    expect(node.get(FILE)).toBeUndefined()
  })

  it('is asked in a version that has STATUS, whatever its own', () => {
    install({ ...SHIPPED, cniVersion: '0.3.1', cniVersions: undefined })
    expect(JSON.parse(node.calls[0]?.config ?? '')).toMatchObject({
      name: 'bowline',
      cniVersion: '1.1.0',
      mode: 'l3',
    })
  })
})

describe('files of others', () => {
  it('stay, and one that sorts first is named', () => {
    node.put('/etc/cni/net.d/05-cilium.conflist', { name: 'cilium', plugins: [{ type: 'cilium-cni' }] })
    node.put('/etc/cni/net.d/09-old.conf', 'anything')
    node.put('/etc/cni/net.d/01-notes.txt', 'x')
    node.put('/etc/cni/net.d/99-loopback.conf', '{}')
    node.files.ensureDirectory('/etc/cni/net.d/07-directory.conf')
    const { warnings } = install().json as { warnings: string[] }
    expect(warnings.map((line) => line.split(' ')[0])).toEqual([
      '/etc/cni/net.d/05-cilium.conflist',
      '/etc/cni/net.d/07-directory.conf',
      '/etc/cni/net.d/09-old.conf',
    ])
    expect(text('/etc/cni/net.d/09-old.conf')).toBe('anything')
  })

  it('are no matter when they call us with our configuration copied', () => {
    node.put('/etc/cni/net.d/02-istio-cni.conflist', { name: 'x', plugins: [OURS, { type: 'istio-cni' }] })
    expect(install().json).toMatchObject({ warnings: [] })
  })
})

describe('an installation that is killed', () => {
  it('at any step leaves each file old or new, never a conflist without the program; the next one completes it', () => {
    for (let at = 1; at < 200; at++) {
      node = createFakeCommandLine()
      node.put(PROGRAM, 'an older program', 0o755)
      let steps = 0
      node.files.onOperation = () => {
        if (++steps === at) throw new Killed()
      }
      const ended = isKilled(() => install())
      node.files.onOperation = undefined
      node.files.revive()
      if (!ended) return
      expect(text(PROGRAM)).toMatch(/^(an older|the) program$/)
      if (node.get(FILE)) expect([text(PROGRAM), text(LINK)]).toEqual(['the program', 'the program'])
      install()
      expect(node.get(FILE)).toEqual(SHIPPED)
    }
    expect.unreachable('the installation has more steps than were tried')
  })
})

function isKilled(work: () => unknown): boolean {
  try {
    work()
    return false
  } catch (error) {
    if (error instanceof Killed) return true
    throw error
  }
}

function sortedKeys(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(sortedKeys)
  const entries = Object.entries(value).map(([key, one]): [string, unknown] => [key, sortedKeys(one)])
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)))
}
