import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, expect, it } from 'vitest'
import { bowline, CONF_DIR, writeNetworks } from '../../support/node/people.ts'
import { CACHE } from '../../support/node/plugin.ts'
import { linksIn, usePods } from '../../support/node/pods.ts'
import { run } from '../../support/node/private_namespaces.ts'

/* bowline cni: a chain of ours and the reference plugins portmap and tuning, called as a runtime calls it. */
const [pod] = usePods('pod')
const PLUGINS = join(CACHE, 'plugins')
const RESULTS = '/var/lib/cni/results'

beforeEach(() =>
  writeNetworks({
    '10.conflist': {
      cniVersion: '1.0.0',
      cniVersions: ['1.0.0', '1.1.0'],
      name: 'lab',
      plugins: [
        {
          type: 'bowline',
          mode: 'l3',
          ipam: {
            type: 'bowline-ipam',
            ranges: [[{ subnet: '10.1.0.0/24' }]],
            routes: [{ dst: '0.0.0.0/0' }],
          },
        },
        { type: 'tuning', mtu: 1300 },
        { type: 'portmap', capabilities: { portMappings: true } },
      ],
    },
  }),
)

const cni = (action: string, ...args: string[]) =>
  bowline('cni', action, 'lab', ...args, '--conf-dir', CONF_DIR, '--bin-dir', PLUGINS)

it('takes a name of ip netns for its path', async () => {
  const added = await cni('add', pod.name)
  expect(added).toMatchObject({ exitCode: 0, json: { ips: [{ address: '10.1.0.2/24' }] } })
  expect(added.stdout).toContain(`"/run/netns/${pod.name}"`)
  expect(await cni('check', `/run/netns/${pod.name}`)).toMatchObject({ exitCode: 0 })
  expect(await cni('del', pod.name)).toMatchObject({ exitCode: 0 })
  expect(linksIn(pod)).toEqual([])
})

it('attaches, checks and detaches by all plugins of the list', async () => {
  const ports = JSON.stringify({
    portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }],
    other: 1,
  })
  const added = await cni(
    'add',
    pod.path,
    '--cap-args',
    ports,
    '--args',
    'K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web',
  )
  expect(added, added.stderr).toMatchObject({ exitCode: 0, json: { ips: [{ address: '10.1.0.2/24' }] } })
  expect(added.stderr).toContain('has "other" in "capabilities"')
  expect(run('ip -n pod -j link show eth0 | jq .[0].mtu').trim()).toBe('1300')
  expect(run('iptables-save -t nat; nft list ruleset')).toContain('8080')
  expect(await cni('check', pod.path, '--cap-args', ports)).toMatchObject({ exitCode: 0, stdout: '' })
  expect((await bowline('pods', '--json')).json).toMatchObject({ pods: [{ pod: 'shop/web', state: 'ok' }] })

  run('ip -n pod addr flush dev eth0')
  expect(await cni('check', pod.path, '--cap-args', ports)).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining('10.1.0.2'),
  })

  expect(await cni('del', pod.path, '--cap-args', ports)).toMatchObject({ exitCode: 0 })
  expect([linksIn(pod), readdirSync(RESULTS)]).toEqual([[], []])
  expect(run('iptables-save -t nat; nft list ruleset')).not.toContain('8080')
})

it.each(['with', 'without'])(
  'does not take an attachment away that is added again, %s a cached result',
  async (cached) => {
    expect(await cni('add', pod.path)).toMatchObject({ exitCode: 0 })
    if (cached === 'without') run(`rm ${RESULTS}/*`)
    expect(await cni('add', pod.path)).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining('already'),
    })
    expect((await bowline('pods', '--json')).json).toMatchObject({
      pods: [{ addresses: ['10.1.0.2'], state: 'ok' }],
    })
    expect(run('ip -n pod -br addr show eth0')).toContain('10.1.0.2')
  },
)

it('gc leaves a pod alone that lives, though its result is not cached', async () => {
  expect(await cni('add', pod.path)).toMatchObject({ exitCode: 0 })
  run(`rm ${RESULTS}/*`)
  expect(await cni('gc')).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('--yes') })
  expect((await bowline('pods', '--json')).json).toMatchObject({ pods: [{ state: 'ok' }] })
})

it('gc frees no address of a pod without a record when no result is kept', async () => {
  run("mkdir -p /var/lib/cni/networks/lab; printf 'another\r\neth0' >/var/lib/cni/networks/lab/10.1.0.9")
  expect(await cni('gc')).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('in use') })
  expect(readdirSync('/var/lib/cni/networks/lab')).toContain('10.1.0.9')
  expect(await cni('gc', '--yes')).toMatchObject({ exitCode: 0 })
  expect(readdirSync('/var/lib/cni/networks/lab')).not.toContain('10.1.0.9')
})

it.each(['5', '[null]', '[["K8S_POD_NAME", "$(reboot)"]]'])(
  'pods shows the container where the cached arguments are %s',
  async (args) => {
    expect(await cni('add', pod.path)).toMatchObject({ exitCode: 0 })
    run(`for f in ${RESULTS}/*; do jq -c '.cniArgs = ${args}' "$f" >/tmp/cached; cp /tmp/cached "$f"; done`)
    expect(await bowline('pods')).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/^bowline-/m) })
  },
)

it('leaves nothing of an ADD that a later plugin has refused', async () => {
  const wrong = JSON.stringify({ portMappings: [{ hostPort: 99_999, containerPort: 80, protocol: 'tcp' }] })
  expect(await cni('add', pod.path, '--cap-args', wrong)).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining('portmap'),
  })
  expect(linksIn(pod)).toEqual([])
})

it('says first why an ADD was refused, and then that the DEL behind it was refused too', async () => {
  const plugins = [{ type: 'bowline' }, { type: 'tuning', mtu: 'wide' }]
  writeNetworks({ '10.conflist': { cniVersion: '1.0.0', name: 'lab', plugins } })
  expect((await cni('add', pod.path)).stderr).toMatch(
    /^bowline: plugin tuning failed to ADD: [^\n]+ not all could be removed: plugin tuning failed to DEL: [^\n]+\n$/,
  )
  expect(linksIn(pod)).toEqual([])
})

it('says of a refused ADD what is wrong and what to do, in two lines', async () => {
  expect((await cni('add', pod.path, '--args', 'IP=10.9.9.9')).stderr).toMatch(
    /^bowline: plugin bowline failed to ADD: [^\n]+10\.9\.9\.9[^\n]+\nbowline: [A-Z][^\n]+\n$/,
  )
})

it('collects what no kept result is about, and says whether a pod could be added', async () => {
  expect(await cni('status')).toMatchObject({ exitCode: 0 })
  expect(await cni('add', pod.path)).toMatchObject({ exitCode: 0 })
  expect(await cni('gc')).toMatchObject({ exitCode: 0 })
  expect(linksIn(pod)).toEqual(['eth0'])
  run(`rm ${RESULTS}/*`)
  expect(await cni('gc', '--yes')).toMatchObject({ exitCode: 0 })
  expect(linksIn(pod)).toEqual([])
})

it.each([
  [['ad', 'lab', '/x'], 'did you mean add?'],
  [['add', 'labb', '/x'], 'unknown network "labb"; did you mean lab?'],
  [['add', 'lab'], 'NETNS is missing'],
  [['check', 'lab', '/run/netns/pod'], 'bowline cni add lab /run/netns/pod'],
])('says of %j what is wrong', async (args, message) => {
  const answer = await bowline('cni', ...args, '--conf-dir', CONF_DIR)
  expect([answer.exitCode > 0, answer.stderr]).toEqual([true, expect.stringContaining(message)])
})
