import { chmodSync, copyFileSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { execaSync } from 'execa'
import { beforeEach, expect, it } from 'vitest'
import { bowline, CONF_DIR, writeNetworks } from '../../support/node/people.ts'
import { BOWLINE } from '../../support/node/plugin.ts'
import { callFor, expectSuccess, usePods } from '../../support/node/pods.ts'
import { run } from '../../support/node/private_namespaces.ts'
import { createNetns, createOutside, removeNetns } from '../../support/node/sandbox.ts'

/* Faults of real nodes, planted one by one: bowline doctor finds each, and its hint, run as a command, mends it. */
const BIN_DIR = '/var/lib/bin'
const [a, b] = usePods('a', 'b')
const L3 = {
  type: 'bowline',
  mode: 'l3',
  ipMasq: true,
  ipam: { type: 'bowline-ipam', ranges: [[{ subnet: '10.1.0.0/24' }]], routes: [{ dst: '0.0.0.0/0' }] },
}
const L2 = {
  type: 'bowline',
  bridge: 'br0',
  isGateway: true,
  ipam: { type: 'bowline-ipam', ranges: [[{ subnet: '10.2.0.0/24' }]] },
}
type Finding = {
  readonly check: string
  readonly level: string
  readonly message: string
  readonly hint: string
}

beforeEach(async () => {
  run(
    'for link in up0 up1; do ip link del $link 2>/dev/null || true; done; ip netns del outside 2>/dev/null || true',
  )
  createOutside()
  run('sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1')
  mkdirSync(BIN_DIR, { recursive: true })
  copyFileSync(BOWLINE, `${BIN_DIR}/bowline`)
  chmodSync(`${BIN_DIR}/bowline`, 0o755)
  run(`rm -f ${BIN_DIR}/bowline-ipam`)
  symlinkSync('bowline', `${BIN_DIR}/bowline-ipam`)
  writeNetworks({
    '10-l3.conflist': { cniVersion: '1.1.0', name: 'routed', plugins: [L3] },
    '20-l2.conflist': { cniVersion: '1.1.0', name: 'bridged', plugins: [L2] },
  })
  expectSuccess(await callFor(a, 'ADD', { ...L3, cniVersion: '1.1.0', name: 'routed' }))
  expectSuccess(await callFor(b, 'ADD', { ...L2, cniVersion: '1.1.0', name: 'bridged' }))
})

async function doctor(): Promise<{ exitCode: number; findings: Finding[] }> {
  const { exitCode, json } = await bowline('doctor', '--json', '--conf-dir', CONF_DIR, '--bin-dir', BIN_DIR)
  return { exitCode, findings: (json as { findings: Finding[] }).findings }
}

/** The directories of the node under test stand in for the usual ones. */
function runHint(hint: string): void {
  const command = hint.replace(/bowline (repair|gc)/, `bowline $1 --conf-dir ${CONF_DIR}`)
  execaSync('bash', ['-ec', command], {
    env: { PATH: `${dirname(BOWLINE)}:${process.env['PATH']}` },
    timeout: 60_000,
  })
}

const linkOf = (pod: string) =>
  `$(ip -j link | jq -r '.[] | select(.ifalias // "" | contains(" ${pod} ")).ifname')`

it('finds nothing on a node that is well', async () => {
  expect(await doctor()).toEqual({ exitCode: 0, findings: [] })
  const { stdout } = await bowline('doctor', '--conf-dir', CONF_DIR, '--bin-dir', BIN_DIR)
  expect(stdout).toMatch(/^✓ 25 of 25 checks found nothing/)
})

it.each([
  ['program', 'a program that may not be executed', `chmod 644 ${BIN_DIR}/bowline`],
  ['program', 'no link for the IPAM plugin', `rm ${BIN_DIR}/bowline-ipam`],
  ['conflist', 'a broken conflist that sorts first', `echo '{' >${CONF_DIR}/05-other.conflist`],
  ['conflist', 'two files of one network', `cp ${CONF_DIR}/20-l2.conflist ${CONF_DIR}/30-copy.conflist`],
  ['keys', 'a misspelt key', `sed -i 's/"ipMasq"/"ipMask"/' ${CONF_DIR}/10-l3.conflist`],
  ['forwarding', 'forwarding that is off', 'sysctl -qw net.ipv4.ip_forward=0'],
  ['forwarding', 'forwarding that is off for a pod', `sysctl -qw net.ipv4.conf.${linkOf('a')}.forwarding=0`],
  ['forwarding', 'forwarding that is off for the uplink', 'sysctl -qw net.ipv4.conf.up0.forwarding=0'],
  [
    'firewall',
    'a policy that drops',
    'nft "add table ip other; add chain ip other forward { type filter hook forward priority 0; policy drop; }"',
  ],
  [
    'rp_filter',
    'strict filters with two ways out',
    `ip link add up1 type veth peer name eth1 netns outside; ip addr add 198.51.100.1/24 dev up1; ip link set up1 up; ip -n outside link set eth1 up
     ip route replace default nexthop via 192.0.2.2 nexthop via 198.51.100.2; sysctl -qw net.ipv4.conf.up1.rp_filter=1`,
  ],
  ['mtu', 'pods with a larger MTU than the uplink', 'ip link set up0 mtu 1400'],
  ['overlap', 'a route of somebody else into the range', 'ip route add 10.1.0.128/25 via 192.0.2.2'],
  ['bridge', 'a bridge that is down', 'ip link set br0 down'],
  ['bridge', 'a bridge that has lost its address', 'ip addr flush dev br0'],
  ['nftables', 'a table that is gone', 'nft delete table inet bowline'],
  ['port', 'a port off its bridge', `ip link set ${linkOf('b')} nomaster`],
  ['attachment', 'a pod without its route', 'ip route del 10.1.0.2'],
  ['attachment', 'a pod without its lease', 'rm /var/lib/cni/networks/routed/10.1.0.2'],
])('%s: finds %s, and mends it by the hint', async (check, _, damage) => {
  run(damage)
  const { exitCode, findings } = await doctor()
  const found = findings.filter((one) => one.check === check)
  expect(found, JSON.stringify(findings)).not.toEqual([])
  expect(exitCode).toBe(found.some(({ level }) => level === 'error') ? 1 : 0)
  for (const { hint } of found) runHint(hint)
  expect(await doctor()).toEqual({ exitCode: 0, findings: [] })
})

it('nftables: names once what several networks share', async () => {
  const other = {
    ...L3,
    ipam: { ...L3.ipam, ranges: [[{ subnet: '10.3.0.0/24' }], [{ subnet: 'fd03::/64' }]] },
  }
  writeNetworks({
    '10-l3.conflist': { cniVersion: '1.1.0', name: 'routed', plugins: [L3] },
    '30-other.conflist': { cniVersion: '1.1.0', name: 'other', plugins: [other] },
  })
  expectSuccess(await callFor(a, 'ADD', { ...other, cniVersion: '1.1.0', name: 'other' }, { ifName: 'net1' }))
  run('nft delete table inet bowline')
  expect((await doctor()).findings.filter(({ check }) => check === 'nftables')).toHaveLength(1)
})

it('uplink: finds the only way out without a carrier, and set down', async () => {
  run('ip -n outside link set eth0 down')
  const named = (what: string) => [
    { check: 'uplink', level: 'error', message: expect.stringContaining(what) },
  ]
  await expect.poll(doctor).toMatchObject({ exitCode: 1, findings: named('no carrier on up0') })
  run('ip link set up0 down')
  const { findings } = await doctor()
  expect(findings).toMatchObject(named('no default route, and up0 is down'))
  run('ip -n outside link set eth0 up')
  runHint(findings[0]?.hint ?? '')
  run('ip route add default via 192.0.2.2')
  await expect.poll(doctor).toEqual({ exitCode: 0, findings: [] })
})

it('uplink: warns of one way out of two without a carrier', async () => {
  run(
    `ip link add up1 type veth peer name eth1 netns outside; ip addr add 198.51.100.1/24 dev up1; ip link set up1 up
     ip route replace default nexthop via 192.0.2.2 nexthop via 198.51.100.2`,
  )
  expect(await doctor()).toMatchObject({ exitCode: 0, findings: [{ check: 'uplink', level: 'warning' }] })
})

it('host-port: warns of one at an address that the node does not have, until it has it', async () => {
  expectSuccess(await callFor(a, 'DEL', { ...L3, cniVersion: '1.1.0', name: 'routed' }))
  const portMappings = [
    { hostPort: 8080, containerPort: 80, hostIP: '192.0.2.77' },
    { hostPort: 8081, containerPort: 80, hostIP: '127.0.0.5' },
    { hostPort: 8082, containerPort: 80, hostIP: '0.0.0.0' },
  ]
  const config = { ...L3, cniVersion: '1.1.0', name: 'routed', runtimeConfig: { portMappings } }
  expectSuccess(await callFor(a, 'ADD', config))
  expect(await doctor()).toMatchObject({
    exitCode: 0,
    findings: [{ check: 'host-port', message: expect.stringMatching(/^a: .*192\.0\.2\.77/) }],
  })
  run('ip addr add 192.0.2.77/32 dev up0')
  expect(await doctor()).toEqual({ exitCode: 0, findings: [] })
})

it('former-range: names a pod whose address its network would not give any more, as after another podCIDR', async () => {
  const ranges = [[{ subnet: '10.9.0.0/24' }], [{ subnet: '10.8.0.0/24' }]]
  const plugins = [{ ...L3, ipam: { ...L3.ipam, ranges } }]
  writeNetworks({ '10-l3.conflist': { cniVersion: '1.1.0', name: 'routed', plugins } })
  mkdirSync('/var/lib/cni/results', { recursive: true })
  const cached = { networkName: 'routed', cniArgs: ['K8S_POD_NAMESPACE=default', 'K8S_POD_NAME=web'] }
  const cniArgs = cached.cniArgs.map((one) => one.split('='))
  writeFileSync('/var/lib/cni/results/routed-a-eth0', JSON.stringify({ ...cached, cniArgs }))
  expect((await doctor()).findings).toContainEqual({
    check: 'former-range',
    level: 'warning',
    message:
      "pods of network routed have addresses outside of its ranges 10.9.0.0/24, 10.8.0.0/24, which may be another node's by now: default/web (10.1.0.2)",
    hint: 'kubectl delete pod -n default web',
  })
  run('rm /var/lib/cni/results/routed-a-eth0')
  expectSuccess(await callFor(a, 'DEL', { ...L3, cniVersion: '1.1.0', name: 'routed' }))
  expect((await doctor()).findings.filter(({ check }) => check === 'former-range')).toEqual([])
})

it('stale: finds a pod that is gone, and mends it by the hint', async () => {
  removeNetns('a')
  await expect.poll(doctor).toMatchObject({ exitCode: 0, findings: [{ check: 'stale', level: 'warning' }] })
  runHint('bowline gc --yes')
  expect(await doctor()).toEqual({ exitCode: 0, findings: [] })
})

it('overlap: leaves the route of a running pod alone that has no record, as of the reference plugins', async () => {
  run('rm /var/lib/cni/bowline/routed/*')
  expect(await doctor()).toEqual({ exitCode: 0, findings: [] })
})

it('attachment: says of a running pod that it must be replaced, where nothing else helps', async () => {
  run('for record in /var/lib/cni/bowline/routed/*; do echo broken >$record; done')
  run(`ip link del ${linkOf('b')}`)
  const { exitCode, findings } = await doctor()
  expect(exitCode).toBe(1)
  expect(findings).toMatchObject([
    { check: 'attachment', level: 'error', hint: 'crictl stopp b' },
    {
      check: 'attachment',
      level: 'warning',
      message: expect.stringContaining('cannot be read'),
      hint: 'crictl stopp a',
    },
  ])
})

it('attachment: names records of a later release', async () => {
  run(`sed -i 's/"version":1/"version":99/' /var/lib/cni/bowline/routed/*`)
  expect(await doctor()).toMatchObject({
    exitCode: 0,
    findings: [{ check: 'attachment', message: expect.stringContaining('later release') }],
  })
  expect((await bowline('status', '--conf-dir', CONF_DIR)).stdout).toContain('! 1 record of a later release')
})

it('forwarding: is not missed before the first pod, whose ADD turns it on', async () => {
  removeNetns('a')
  removeNetns('b')
  const collected = async () => {
    await bowline('gc', '--yes', '--conf-dir', CONF_DIR)
    return (await bowline('pods', '--json')).json
  }
  await expect.poll(collected).toEqual({ pods: [] })
  run('sysctl -qw net.ipv4.ip_forward=0')
  expect(await doctor()).toEqual({ exitCode: 0, findings: [] })
  createNetns('a')
  expectSuccess(await callFor(a, 'ADD', { ...L3, cniVersion: '1.1.0', name: 'routed' }))
  expect(run('sysctl -n net.ipv4.ip_forward').trim()).toBe('1')
})

it('managed: finds a link that systemd-networkd manages', async () => {
  const dir = '/run/systemd/netif/links'
  run(`mkdir -p ${dir}; mount -t tmpfs tmpfs ${dir}`)
  writeFileSync(`${dir}/${run('ip -j link show br0 | jq .[0].ifindex').trim()}`, 'ADMIN_STATE=configured\n')
  const { findings } = await doctor()
  run(`umount ${dir}`)
  expect(findings).toMatchObject([{ check: 'managed', hint: expect.stringContaining('Unmanaged=yes') }])
})
