import { beforeEach, describe, expect, it } from 'vitest'
import { type PluginCall, runPlugin } from '../../support/node/plugin.ts'
import { callFor, usePods } from '../../support/node/pods.ts'
import { run } from '../../support/node/private_namespaces.ts'
import { sendRouterAdvertisement } from '../../support/node/raw_frames.ts'
import { createNetns, removeNetns } from '../../support/node/sandbox.ts'
import { READ_ONLY_SYSCTLS } from '../../support/node/sysctl_mounts.ts'

/*
 * A node that has its IPv6 addresses and routes from router advertisements. A kernel that forwards IPv6 drops such
 * default routes, and believes no further advertisement, unless `accept_ra` is 2.
 */
const L3 = {
  cniVersion: '1.1.0',
  name: 'net',
  type: 'bowline',
  mode: 'l3',
  ipam: {
    type: 'bowline-ipam',
    ranges: [[{ subnet: '10.1.0.0/24' }], [{ subnet: 'fd00:1::/64' }]],
    routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
  },
}
const L2 = { ...L3, mode: 'l2', bridge: 'br0', isGateway: true }
const BRIDGED = { ...L3, mode: 'l2', bridge: 'br0' }
const V4 = { ipam: { type: 'bowline-ipam', ranges: [[{ subnet: '10.1.0.0/24' }]] } }
const V6 = { ipam: { type: 'bowline-ipam', ranges: [[{ subnet: 'fd00:1::/64' }]] } }
/** The kernel knows no such scope: configuring the pod fails. */
const FAILING = { ...L3.ipam, routes: [{ dst: '198.51.100.0/24', scope: 255 }] }

const [pod] = usePods('pod')
beforeEach(() => {
  run(`for name in br0 up0 up1 up.0; do ip link del $name 2>/dev/null || true; done
    echo 0 >/proc/sys/net/ipv4/ip_forward; echo 0 >/proc/sys/net/ipv6/conf/all/forwarding`)
  for (const name of ['of-up0', 'of-up1']) removeNetns(name)
})

/** Links the node to a network whose router sends advertisements, and waits until the node has heard one. */
async function addUplink(name: string, what: 'router' | 'prefix' = 'router', carrier = name): Promise<void> {
  const outside = createNetns(`of-${name}`)
  run(`ip link add ${name} type veth peer name eth0 netns ${outside.name}
    ip link set ${name} up; ip -n ${outside.name} link set eth0 up`)
  if (carrier !== name)
    run(
      `ip link add ${carrier} type bridge; ip link set ${carrier} up; ip link set ${name} master ${carrier}`,
    )
  // A link takes part in IPv6 a moment after it is up.
  for (let i = 0; i < 20 && !advertisedOn(carrier); i++) await sendRouterAdvertisement(outside, 'eth0', what)
  expect(advertisedOn(carrier)).not.toBe('')
}

/** Everything that the node has by advertisements on this link, without the times that run. */
function advertisedOn(name: string): string {
  return run(`ip -6 route show dev ${name} proto ra | sed 's/ expires.*//'
    ip -6 address show dev ${name} scope global | grep -o 'inet6.*mngtmpaddr' | sed 's/ tentative//' || true`)
}

const add = (config: object, more: Partial<PluginCall> = {}) => callFor(pod, 'ADD', config, more)
const check = (config: object, prevResult: object) => callFor(pod, 'CHECK', { ...config, prevResult })

const acceptRa = (name: string) => run(`cat /proc/sys/net/ipv6/conf/${name}/accept_ra`)
const settings = () =>
  run("grep -rs '' /proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf | grep -v /stable_secret | sort")

it.each([
  ['l3', L3],
  ['l3, IPv6 only, masqueraded', { ...L3, ...V6, ipMasq: true }],
  ['l2 with a gateway', L2],
  ['l2 without one, masqueraded', { ...BRIDGED, ipMasq: true }],
])('the first pod takes no way out from the node, and the node goes on to listen (%s)', async (_, config) => {
  await addUplink('up0')
  await addUplink('up1', 'prefix')
  const before = [advertisedOn('up0'), advertisedOn('up1')]
  expect(await add(config)).toMatchObject({ exitCode: 0 })
  expect(run('cat /proc/sys/net/ipv6/conf/all/forwarding')).toBe('1')
  expect([advertisedOn('up0'), advertisedOn('up1')]).toEqual(before)
  expect([acceptRa('up0'), acceptRa('up1')]).toEqual(['2', '2'])
  run('ip -6 route del default')
  await sendRouterAdvertisement({ name: 'of-up0', path: '/run/netns/of-up0' }, 'eth0')
  expect(run('for i in $(seq 50); do ip -6 route show default | grep . && exit; sleep 0.1; done')).toContain(
    'proto ra',
  )
})

it.each([
  ['what somebody has put in by hand', 'ip -6 route add default via fe80::1 dev up0 proto ra', '2'],
  ['a route of a table of its own', 'ip -6 route add default via fe80::1 dev up0 proto ra table 77', '2'],
  [
    'one of two next hops',
    'ip -6 route add default proto ra nexthop via fe80::1 dev up0 nexthop via fe80::2 dev up0',
    '2',
  ],
  ['an address', 'ip -6 address add 2001:db8::7/64 dev up0 mngtmpaddr', '2'],
  ['nothing', 'true', '1'],
  [
    'the routes of a daemon that listens in place of the kernel',
    'echo 0 >/proc/sys/net/ipv6/conf/up0/accept_ra; ip -6 route add default via fe80::1 dev up0 proto ra',
    '0',
  ],
  ['a route by hand', 'ip -6 route add default via fe80::1 dev up0', '1'],
  [
    'what it believes by another number',
    'echo 3 >/proc/sys/net/ipv6/conf/up0/accept_ra; ip -6 route add default via fe80::1 dev up0 proto ra',
    '2',
  ],
  [
    'what it keeps as it is',
    'echo 2 >/proc/sys/net/ipv6/conf/up0/accept_ra; ip -6 route add default via fe80::1 dev up0 proto ra',
    '2',
  ],
])('a link that has %s by advertisements is judged by that', async (_, command, expected) => {
  createNetns('of-up0')
  run(
    'ip link add up0 type veth peer name eth0 netns of-up0; ip link set up0 up; ip -n of-up0 link set eth0 up',
  )
  run(command)
  const routes = run('ip -6 route show table all proto ra')
  expect(await add(L3)).toMatchObject({ exitCode: 0 })
  expect([acceptRa('up0'), run('ip -6 route show table all proto ra')]).toEqual([expected, routes])
})

it.each([
  ['l3', { ...L3, ...V4 }],
  ['l2', { ...L2, ...V4, ipMasq: true }],
])('a pod without IPv6 changes nothing of IPv6 on the node (%s)', async (_, config) => {
  await addUplink('up0')
  const ofNode = () =>
    settings()
      .split('\n')
      .filter((line) => /ipv6\/conf\/(all|default|lo|up0)\//.test(line))
  const before = ofNode()
  expect(await add(config)).toMatchObject({ exitCode: 0 })
  expect(ofNode()).toEqual(before)
})

it('a node that forwards already keeps its settings, whatever they are', async () => {
  await addUplink('up0')
  run('echo 1 >/proc/sys/net/ipv6/conf/all/forwarding; ip -6 route add default via fe80::1 dev up0 proto ra')
  expect(await add(L3)).toMatchObject({ exitCode: 0 })
  expect(acceptRa('up0')).toBe('1')
})

it.each([
  ['l3', L3],
  ['l2', L2],
])('an ADD that fails leaves every setting as it was (%s)', async (_, config) => {
  await addUplink('up0')
  await addUplink('up1')
  run(`echo 1 >/proc/sys/net/ipv6/conf/up1/forwarding; echo 1 >/proc/sys/net/ipv4/conf/up1/forwarding
    echo 0 >/proc/sys/net/ipv4/conf/all/accept_redirects`)
  const before = [settings(), advertisedOn('up0')]
  const { output } = await add({ ...config, ipam: FAILING })
  expect(output.msg).toMatch(/configure the interface in the pod/)
  expect([settings(), advertisedOn('up0')]).toEqual(before)
})

describe('a bridge that the node lives by', () => {
  it.each([
    ['with a gateway', L2, '2'],
    ['without one', BRIDGED, '1'],
    ['without IPv6', { ...L2, ...V4 }, '1'],
  ])('keeps its router when pods join it (%s)', async (_, config, expected) => {
    await addUplink('up0', 'router', 'br0')
    const before = advertisedOn('br0')
    const { exitCode, output } = await add(config)
    expect(exitCode).toBe(0)
    expect([acceptRa('br0'), advertisedOn('br0')]).toEqual([expected, before])
    expect(await check(config, output)).toMatchObject({ exitCode: 0, stdout: '' })
  })
})

it('what CHECK advises when forwarding was switched off keeps the way out too', async () => {
  const { output } = await add(L3)
  run('echo 0 >/proc/sys/net/ipv6/conf/all/forwarding')
  await addUplink('up0')
  const before = advertisedOn('up0')
  const answer = await check(L3, output)
  const command = /\[run: ([^\]]*)\]/.exec(answer.output.details ?? '')?.[1] ?? ''
  expect(command).toBe('sysctl -w net.ipv6.conf.up0.accept_ra=2 net.ipv6.conf.all.forwarding=1')
  run(command)
  expect(advertisedOn('up0')).toBe(before)
})

it('where nothing can be written ADD refuses, the way out stays, and STATUS says so before', async () => {
  await addUplink('up0')
  run('echo 0 >/proc/sys/net/ipv6/conf/default/accept_ra; echo 1 >/proc/sys/net/ipv4/ip_forward')
  const before = advertisedOn('up0')
  const hint = expect.stringContaining(
    'run on the node: sysctl -w net.ipv6.conf.up0.accept_ra=2 net.ipv6.conf.all.forwarding=1',
  )
  const answer = await add(L3, { inside: READ_ONLY_SYSCTLS })
  expect(answer.output).toMatchObject({
    code: 5,
    msg: expect.stringMatching(/let the node forward IPv6/),
    details: hint,
  })
  expect(advertisedOn('up0')).toBe(before)
  const status = await runPlugin({ command: 'STATUS', config: L3, inside: READ_ONLY_SYSCTLS })
  expect(status.output).toMatchObject({ code: 50, details: hint })
  run('echo 1 >/proc/sys/net/ipv6/conf/default/accept_ra')
})

it.each([
  ['l3', L3, 'veth'],
  ['l2', { ...L2, ipMasq: true }, 'br0'],
])('new links forward where net.ipv4.conf.default.forwarding is 0 (%s)', async (_, config, carrier) => {
  run('echo 1 >/proc/sys/net/ipv4/ip_forward; echo 0 >/proc/sys/net/ipv4/conf/default/forwarding')
  const { output } = await add(config)
  const { name = '' } = output.interfaces?.find((one) => one.name.startsWith(carrier)) ?? {}
  expect(run(`cat /proc/sys/net/ipv4/conf/${name}/forwarding`)).toBe('1')
  expect(await check(config, output)).toMatchObject({ exitCode: 0, stdout: '' })
})

it('a link whose name has a dot is kept too, and named as sysctl takes it', async () => {
  await addUplink('up0')
  // An ADD fails for what it writes first, and its hint names all that it would have to write.
  run(
    'ip link set up0 down; ip link set up0 name up.0; ip link set up.0 up; ip -6 route add default via fe80::1 dev up.0 proto ra',
  )
  const { output } = await add(L3, { inside: READ_ONLY_SYSCTLS })
  expect(output.details).toMatch(
    'sysctl -w net.ipv4.ip_forward=1 net/ipv6/conf/up.0/accept_ra=2 net.ipv6.conf.all.forwarding=1',
  )
  expect(await add(L3)).toMatchObject({ exitCode: 0 })
  expect(acceptRa('up.0')).toBe('2')
})
