import { describe, expect, it } from 'vitest'
import {
  attach,
  call,
  check,
  expectGatewaysToAnswer,
  expectMended,
  type Mode,
  runCommandsOf,
  useCheckedPod,
} from '../../support/node/checked_pod.ts'
import { run } from '../../support/node/private_namespaces.ts'
import { filesBelow } from '../../support/node/sandbox.ts'

/* What CHECK says of a pod that no command can mend, and what it has nothing to say about. */
const OTHER_MAC = '02:66:66:66:66:66'
const pod = useCheckedPod()

describe('CHECK says that only a new pod helps', () => {
  it.each<[string, string, RegExp, string?]>([
    [
      'without its interface',
      'ip -n pod-a link del eth0',
      /interface eth0 is missing in the pod \[delete the pod\]/,
    ],
    [
      'without its record',
      'rm /var/lib/cni/bowline/net/*',
      /the attachment record is missing \[delete the pod\]/,
    ],
    [
      'whose address another one has by now',
      'printf other > /var/lib/cni/networks/net/10.1.0.2',
      /address 10\.1\.0\.2 is leased to container other by now \[delete the pod\]/,
      'rm /var/lib/cni/networks/net/10.1.0.2',
    ],
    [
      'whose interface is another one',
      'ip -n pod-a link del eth0; ip -n pod-a link add eth0 type veth peer name eth1',
      /is missing/,
    ],
  ])('%s', async (_, takeAway, complaint, cleanUp = 'true') => {
    await attach(pod, 'l2')
    run(takeAway)
    const said = await check(pod, 'l2')
    expect(said).toMatchObject({ code: 102 })
    expect(said.details).toMatch(complaint)
    run(cleanUp)
  })
})

describe('CHECK passes', () => {
  it.each<[string, Mode, string]>([
    [
      'when somebody makes links promiscuous',
      'l2',
      'ip link set br0 promisc on; ip link set $HOST promisc on; ip -n pod-a link set eth0 promisc on',
    ],
    [
      'when somebody makes links promiscuous',
      'l3',
      'ip link set $HOST promisc on; ip -n pod-a link set eth0 promisc on',
    ],
    [
      'when a later plugin has added addresses and routes',
      'l3',
      'ip -n pod-a addr add 10.1.0.77/32 dev eth0; ip -n pod-a route add 10.7.0.0/24 via 10.1.0.1',
    ],
    [
      'when a later plugin has moved the routes to another table',
      'l2',
      'ip -n pod-a route del default; ip -n pod-a route add default via 10.1.0.1 table 100; ip -n pod-a rule add from 10.1.0.2 table 100',
    ],
    ['when a later plugin has given the pod a smaller MTU', 'l3', 'ip -n pod-a link set eth0 mtu 1300'],
    [
      'when somebody has added rules between ours',
      'l3',
      'nft insert rule inet bowline masquerade-pods counter; nft add rule inet bowline masquerade-pods counter',
    ],
    [
      'when duplicate detection of an address still goes on',
      'l2',
      'ip -n pod-a addr del fd00:1::2/64 dev eth0; ip -n pod-a addr add fd00:1::2/64 dev eth0',
    ],
  ])('%s (mode %s)', async (_, mode, change) => {
    await attach(pod, mode)
    run(change.replaceAll('$HOST', pod.host))
    expect(await check(pod, mode)).toEqual({})
  })

  it('when a later plugin has given the pod another MAC, and says so in the result', async () => {
    await attach(pod, 'l2', { macspoofchk: false })
    run(`ip -n pod-a link set eth0 address ${OTHER_MAC}`)
    const interfaces = pod.result.interfaces?.map((one) => (one.sandbox ? { ...one, mac: OTHER_MAC } : one))
    expect(await check(pod, 'l2', { macspoofchk: false, prevResult: { ...pod.result, interfaces } })).toEqual(
      {},
    )
  })
})

describe('what a later plugin has done to the MAC of the pod is told with the command that makes all fit again', () => {
  it.each<[Mode, RegExp]>([
    ['l2', /the MAC 02:66:66:66:66:66 is not checked: nftables chain mac-\w+ is missing or wrong/],
    ['l3', /neighbour 10\.1\.0\.2 is missing or wrong on veth\w+ on the host/],
  ])('in mode %s', async (mode, complaint) => {
    await attach(pod, mode)
    run(`ip -n pod-a link set eth0 address ${OTHER_MAC}`)
    const interfaces = pod.result.interfaces?.map((one) => (one.sandbox ? { ...one, mac: OTHER_MAC } : one))
    const prevResult = { ...pod.result, interfaces }
    const said = await check(pod, mode, { prevResult })
    expect(said.details).toMatch(complaint)
    await expectMended(pod, said, mode, { prevResult })
    await expectGatewaysToAnswer(pod)
  })
})

describe('a command that CHECK prints', () => {
  it('can be typed though names and paths are not what a shell expects', async () => {
    run(
      "mkdir '/run/netns/a b'; touch '/run/netns/a b/$(id)'; mount --bind /run/netns/pod-a '/run/netns/a b/$(id)'",
    )
    const path = '/run/netns/a b/$(id)'
    const more = { netns: path, ifName: "e'$(x)" }
    const { output } = await call('ADD', 'l3', pod, {}, more)
    run(`nsenter --net=/run/netns/pod-a ip link set dev "e'\\$(x)" down`)
    const checkIt = () => call('CHECK', 'l3', pod, { prevResult: output }, more)
    expect(runCommandsOf((await checkIt()).output)).toBeGreaterThan(0)
    expect((await checkIt()).output).toEqual({})
    await call('DEL', 'l3', pod, {}, more)
    run("umount '/run/netns/a b/$(id)'; rm -r '/run/netns/a b'")
  })

  it('comes with the others of a pod that has lost everything, and they mend it together', async () => {
    await attach(pod, 'l2')
    run(`ip -n pod-a addr flush dev eth0; ip -n pod-a link set eth0 down; ip link del br0
      ip link set ${pod.host} down; nft flush ruleset; sysctl -qw net.ipv4.ip_forward=0
      rm /var/lib/cni/networks/net/10.1.0.2 /var/lib/cni/networks/net/fd00:1::2`)
    expect(runCommandsOf(await check(pod, 'l2'))).toBeGreaterThan(10)
    expect(await check(pod, 'l2')).toEqual({})
    await expectGatewaysToAnswer(pod)
    expect(filesBelow('/var/lib/cni/networks/net')).toEqual(expect.arrayContaining(['10.1.0.2', 'fd00:1::2']))
  })
})
