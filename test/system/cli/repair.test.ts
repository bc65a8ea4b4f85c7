import { readdirSync, readFileSync } from 'node:fs'
import { beforeEach, describe, expect, it } from 'vitest'
import { bowline, CONF_DIR, writeNetworks } from '../../support/node/people.ts'
import { callFor, expectSuccess, usePods } from '../../support/node/pods.ts'
import { run } from '../../support/node/private_namespaces.ts'
import { createNetns, ping, removeNetns } from '../../support/node/sandbox.ts'

/* bowline repair and bowline gc on a real node. */
const [a, b] = usePods('a', 'b')
const IPAM = { type: 'bowline-ipam', ranges: [[{ subnet: '10.1.0.0/24' }]], routes: [{ dst: '0.0.0.0/0' }] }
const NETWORKS = {
  l3: { type: 'bowline', mode: 'l3', ipMasq: true, ipam: IPAM },
  l2: { type: 'bowline', bridge: 'br0', isGateway: true, ipMasq: true, macspoofchk: true, ipam: IPAM },
}
const repair = (...args: string[]) => bowline('repair', '--conf-dir', CONF_DIR, ...args)

async function attach(mode: keyof typeof NETWORKS): Promise<string> {
  writeNetworks({ '10.conflist': { cniVersion: '1.1.0', name: 'lab', plugins: [NETWORKS[mode]] } })
  const links = []
  for (const pod of [a, b]) {
    const { output } = await callFor(pod, 'ADD', { ...NETWORKS[mode], cniVersion: '1.1.0', name: 'lab' })
    links.push(output.interfaces?.find(({ name }) => name.startsWith('veth'))?.name)
  }
  return links[0] ?? ''
}

describe('repair', () => {
  it.each([
    ['l3', 'an address in the pod', () => 'ip -n a addr flush dev eth0'],
    ['l3', 'the route to a pod', () => 'ip route del 10.1.0.2'],
    ['l3', 'a neighbour', () => 'ip -n a neigh del 10.1.0.1 dev eth0'],
    ['l3', 'masquerading', () => 'nft delete table inet bowline'],
    ['l3', 'an interface that is down', (link: string) => `ip link set ${link} down`],
    ['l3', 'a lease', () => 'rm /var/lib/cni/networks/lab/10.1.0.2'],
    ['l2', 'a port of the bridge', (link: string) => `ip link set ${link} nomaster`],
    ['l2', 'the check of MACs', () => 'nft delete table bridge bowline'],
    ['l2', 'the gateway of the bridge', () => 'ip addr flush dev br0'],
  ] as const)('makes again, in mode %s, %s', async (mode, _, damage) => {
    const link = await attach(mode)
    expect(await repair()).toMatchObject({ exitCode: 0, stdout: expect.stringContaining('✓ 2 attachments') })
    run(damage(link))
    const plan = await repair()
    expect(plan).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('add --yes') })
    expect(plan.stdout).toMatch(/^ {2}✗ \S.*\n {6}\S/m)
    expect((await repair()).stdout).toBe(plan.stdout)
    expect(await repair('--yes')).toMatchObject({
      exitCode: 0,
      stdout: expect.stringMatching(/✓ \d attachments? repaired/),
    })
    expect(await ping('10.1.0.2', { from: b })).toMatchObject({ answered: 1 })
    expect(await repair('--json')).toMatchObject({
      exitCode: 0,
      json: { repaired: false, found: [], left: [] },
    })
  })

  it('makes the rules of host ports again, of which doctor tells', async () => {
    await attach('l3')
    await callFor(a, 'DEL', { ...NETWORKS.l3, cniVersion: '1.1.0', name: 'lab' })
    const runtimeConfig = { portMappings: [{ hostPort: 8080, containerPort: 80 }] }
    expectSuccess(
      await callFor(a, 'ADD', { ...NETWORKS.l3, cniVersion: '1.1.0', name: 'lab', runtimeConfig }),
    )
    const words = 'rules of host ports are missing in table inet bowline'
    const doctor = async () => (await bowline('doctor', '--conf-dir', CONF_DIR)).stdout
    expect(await doctor()).not.toContain(words)
    run('nft flush chain inet bowline host-ports')
    expect(await doctor()).toContain(words)
    expect(await repair('--yes')).toMatchObject({ exitCode: 0 })
    expect(await doctor()).not.toContain(words)
  })

  it('leases an address again that the pod has, and not one that another container holds by now', async () => {
    await attach('l3')
    const lease = '/var/lib/cni/networks/lab/10.1.0.2'
    const before = readFileSync(lease, 'utf8')
    const look = async () => [
      (await bowline('status', '--conf-dir', CONF_DIR)).stdout,
      (await bowline('doctor', '--conf-dir', CONF_DIR)).stdout,
    ]
    run(`rm ${lease}`)
    for (const text of await look()) expect(text).toContain('address 10.1.0.2 is not leased to it')
    expect(await repair('--yes')).toMatchObject({ exitCode: 0 })
    expect(readFileSync(lease, 'utf8')).toBe(before)
    for (const text of await look()) expect(text).not.toContain('is not leased')
    run(`printf 'other\\r\\neth0' >${lease}`)
    const { exitCode, stdout } = await repair('--yes')
    expect([exitCode, stdout]).toEqual([1, expect.stringContaining('leased to container other by now')])
    expect(stdout).toContain('only a new pod helps')
    expect(readFileSync(lease, 'utf8')).toBe('other\r\neth0')
  })

  it('prints commands that a shell runs as they stand, and in short how many', async () => {
    await attach('l3')
    run('nft delete table inet bowline; ip -n a addr flush dev eth0')
    run(
      'nft "add table ip other; add chain ip other f { type filter hook forward priority 0; policy drop; }"',
    )
    expect((await repair()).stdout).toMatch(/^ {6}\(\d+ commands of nft: bowline repair --commands\)$/m)
    const { exitCode, stdout: script } = await repair('--commands')
    expect([exitCode, script]).toEqual([1, expect.stringContaining('\n# left to you: nft ')])
    run(script)
    run('nft delete table ip other')
    expect(await repair('--commands')).toMatchObject({ exitCode: 0, stdout: '' })
  })

  it('makes a whole bridge again', async () => {
    await attach('l2')
    run('ip link del br0')
    expect(await repair('--yes')).toMatchObject({ exitCode: 0 })
    expect(await ping('10.1.0.2', { from: b })).toMatchObject({ answered: 1 })
  })

  it('says of what it cannot judge why', async () => {
    await attach('l3')
    writeNetworks({})
    expect(await repair('--json')).toMatchObject({
      exitCode: 0,
      json: { unjudged: [{ reason: `no conflist of network lab is in ${CONF_DIR}` }, {}] },
    })
  })

  it('leaves rules of others to the person', async () => {
    await attach('l3')
    run(
      'nft "add table ip other; add chain ip other f { type filter hook forward priority 0; policy drop; }"',
    )
    const { exitCode, stdout } = await repair('--yes')
    expect([exitCode, stdout]).toEqual([1, expect.stringContaining('nft ')])
    expect(stdout).toContain('left to you')
  })
})

describe('gc', () => {
  const gc = (...args: string[]) => bowline('gc', '--conf-dir', CONF_DIR, ...args)
  const leases = () =>
    readdirSync('/var/lib/cni/networks/lab')
      .filter((name) => /^\d/.test(name))
      .sort()
  beforeEach(() => attach('l2'))

  it('removes what a pod has left that is gone, and nothing of another', async () => {
    removeNetns('a')
    await expect
      .poll(() => gc())
      .toMatchObject({ exitCode: 1, stdout: expect.stringMatching(/^- a eth0.*its pod is gone$/m) })
    expect(leases()).toEqual(['10.1.0.2', '10.1.0.3'])
    expect(await gc('--yes')).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining('✓ 1 leftover removed'),
    })
    expect(leases()).toEqual(['10.1.0.3'])
    createNetns('a')
    expectSuccess(await callFor(a, 'ADD', { ...NETWORKS.l2, cniVersion: '1.1.0', name: 'lab' }))
    expect(await ping('10.1.0.3', { from: a })).toMatchObject({ answered: 1 })
    expect(await gc()).toMatchObject({ exitCode: 0, stdout: expect.stringContaining('nothing is left') })
  })

  it('leaves a pod alone that lives though its record is broken, and removes what such a pod has left', async () => {
    run('for record in /var/lib/cni/bowline/lab/*; do echo broken >$record; done')
    expect(await gc('--yes')).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining('nothing is left'),
    })
    expect(await ping('10.1.0.3', { from: a })).toMatchObject({ answered: 1 })
    expect(await bowline('status', '--conf-dir', CONF_DIR)).toMatchObject({
      stdout: expect.stringContaining('! 2 records of running pods cannot be read'),
    })
    removeNetns('a')
    await expect
      .poll(() => gc('--yes'))
      .toMatchObject({ stdout: expect.stringContaining('1 leftover removed') })
    expect(leases()).toEqual(['10.1.0.3'])
  })

  it('leaves alone what has no record: it may be of a pod that lives', async () => {
    run('rm /var/lib/cni/bowline/lab/*')
    expect(await gc('--yes')).toMatchObject({ exitCode: 0 })
    expect(await ping('10.1.0.3', { from: a })).toMatchObject({ answered: 1 })
    expect(leases()).toHaveLength(2)
  })
})
