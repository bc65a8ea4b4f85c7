import { readlinkSync, statSync } from 'node:fs'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { parseAddress, parseCidr } from '../../../src/core/address.ts'
import { parseMac } from '../../../src/core/mac.ts'
import type { Change, Link, Netns } from '../../../src/kernel/kernel.ts'
import { createLinuxKernel } from '../../../src/kernel/linux/kernel.ts'
import { faultOf } from '../../support/fault_of.ts'
import { enterPrivateNamespaces, run } from '../../support/node/private_namespaces.ts'

/*
 * The Linux adapter, checked with ip -j. What the fake does as well is in the contract suite
 * (test/system/kernel/kernel_contract.test.ts); here is what only the real kernel can show.
 */

const POD = '/run/netns/pod'
const NEAR = { name: 'near', mac: parseMac('02:00:00:00:00:01') }
const FAR = { name: 'eth0', mac: parseMac('02:00:00:00:00:02') }
const kernel = createLinuxKernel()
let host: Netns
let pod: Netns
let near: Link

beforeAll(enterPrivateNamespaces)

beforeEach(() => {
  run('ip netns add pod')
  host = kernel.host()
  pod = kernel.openNetns(POD)
  const create: Change = { op: 'createVeth', host: NEAR, peer: FAR, peerNetns: pod, mtu: 1400 }
  near = host.applyAndRead([create, { op: 'setLink', link: { name: NEAR.name }, up: true }], {
    name: NEAR.name,
  })
  pod.apply([{ op: 'setLink', link: { index: far() }, up: true }])
})

afterEach(() => {
  pod.close()
  run('ip netns del pod; ip link del near 2>/dev/null || true; ip link del bowline0 2>/dev/null || true')
})

describe('a pod’s network as ip sees it', () => {
  it('has the other end of the pair in the pod, with its MAC, MTU and peer', () => {
    const [link] = ipInPod('-d link show eth0')
    expect(link).toMatchObject({ address: FAR.mac, mtu: 1400, ifindex: far(), link_index: near.index })
    expect(link.linkinfo.info_kind).toBe('veth')
  })

  it('has addresses of both families, without duplicate detection', () => {
    pod.apply([address('10.1.0.2/24'), address('10.1.9.1/31'), address('fd00::2/64')])
    const [{ addr_info }] = ipInPod('addr show eth0')
    expect(addr_info.slice(0, 3)).toMatchObject([
      { local: '10.1.0.2', prefixlen: 24, broadcast: '10.1.0.255' },
      { local: '10.1.9.1', prefixlen: 31 },
      { local: 'fd00::2', prefixlen: 64, nodad: true },
    ])
    expect(addr_info[1].broadcast).toBeUndefined()
    expect(addr_info[2].tentative).toBeUndefined()
  })

  it('has no route of the prefix when told so', () => {
    pod.apply([
      { ...address('10.1.0.2/24'), noPrefixRoute: true },
      { ...address('fd00::2/64'), noPrefixRoute: true },
    ])
    expect(ipInPod('-4 route')).toEqual([])
    expect(ipInPod('-6 route').filter(({ dst }: { dst: string }) => dst.startsWith('fd'))).toEqual([])
  })

  it.each([
    ['10.1.0.2/32', '10.1.0.1', '0.0.0.0/0', '-4'],
    ['fd00::2/128', 'fd00::1', '::/0', '-6'],
  ])('routes %s by way of a host route to %s', (own, via, everywhere, family) => {
    const gateway = parseAddress(via)
    const toGateway = parseCidr(`${via}/${own.split('/')[1]}`)
    pod.apply([
      address(own),
      { op: 'setNeighbour', neighbour: { linkIndex: far(), address: gateway, mac: NEAR.mac } },
      { op: 'addRoute', route: { dst: toGateway, linkIndex: far() } },
      {
        op: 'addRoute',
        route: { dst: parseCidr(everywhere), gateway, linkIndex: far(), mtu: 1300, advmss: 1200 },
      },
    ])
    const routes = ipInPod(`${family} route`)
    expect(routes).toContainEqual(expect.objectContaining({ dst: via, dev: 'eth0' }))
    expect(routes).toContainEqual(
      expect.objectContaining({ dst: 'default', gateway: via, metrics: [{ mtu: 1300, advmss: 1200 }] }),
    )
    expect(ipInPod('neigh show nud permanent')).toEqual([
      { dst: via, dev: 'eth0', lladdr: NEAR.mac, state: ['PERMANENT'] },
    ])
  })

  it('takes settings of the link along with the link', () => {
    host.apply([
      {
        op: 'setLink',
        link: { index: near.index },
        alias: 'bowline',
        promiscuous: true,
        ipv4: { sendRedirects: false, arpNotify: true, forwarding: true },
        ipv6LinkLocal: false,
      },
    ])
    const [link] = ip('-d link show near')
    expect(link).toMatchObject({ ifalias: 'bowline', promiscuity: 1, inet6_addr_gen_mode: 'none' })
    const conf = '/proc/sys/net/ipv4/conf/near'
    expect(run(`cat ${conf}/send_redirects ${conf}/arp_notify ${conf}/forwarding`)).toBe('0\n1\n1')
  })

  it('is a bridge port with its options from one change', () => {
    const bridge = host.applyAndRead(
      [{ op: 'createBridge', name: 'bowline0', mac: parseMac('02:00:00:00:00:09'), mtu: 1400 }],
      { name: 'bowline0' },
    )
    const port = { hairpin: true, isolated: true }
    host.apply([{ op: 'setLink', link: { index: near.index }, master: bridge.index, up: true, port }])
    const [link] = ip('-d link show near')
    expect(link).toMatchObject({ master: 'bowline0', linkinfo: { info_slave_data: port } })
    expect(ip('link show bowline0')[0]).toMatchObject({ address: '02:00:00:00:00:09', mtu: 1400 })
  })
})

describe('a removed route', () => {
  it('may be one that another program or the kernel made', () => {
    pod.apply([address('10.1.0.2/24')])
    run('ip -n pod route add 10.9.0.0/24 via 10.1.0.1 dev eth0 proto static metric 7')
    const gone = (dst: string): Change => ({
      op: 'removeRoute',
      route: { dst: parseCidr(dst), linkIndex: far() },
    })
    pod.apply([gone('10.9.0.0/24'), gone('10.1.0.0/24')])
    expect(ipInPod('-4 route')).toEqual([])
  })

  it('takes only its own gateway out of a route by two gateways', () => {
    pod.apply([address('fd00::2/64')])
    const via = (gateway: string) => ({
      dst: parseCidr('::/0'),
      gateway: parseAddress(gateway),
      linkIndex: far(),
    })
    pod.apply([
      { op: 'addRoute', route: via('fd00::1') },
      { op: 'addRoute', route: via('fd00::3') },
      { op: 'removeRoute', route: via('fd00::1') },
    ])
    expect(ipInPod('-6 route show default')).toMatchObject([{ gateway: 'fd00::3' }])
  })
})

describe('a batch', () => {
  it('of a thousand changes is carried out whole', () => {
    const cidrs = Array.from({ length: 1000 }, (_, i) => `10.${i >> 8}.${i & 255}.1/32`)
    pod.apply(cidrs.map(address))
    expect(pod.addresses(far()).filter(({ cidr }) => cidr.address.family === 4)).toHaveLength(1000)
    expect(ipInPod('-4 addr show eth0')[0].addr_info).toHaveLength(1000)
  })

  it('tells the kernel’s own words about a refusal', () => {
    pod.apply([address('10.1.0.2/24')])
    const route = { dst: parseCidr('10.9.0.0/24'), gateway: parseAddress('10.66.0.1'), linkIndex: far() }
    const { message } = faultOf(() => pod.apply([{ op: 'addRoute', route }]))
    expect(message).toBe('add route 10.9.0.0/24 via 10.66.0.1: ENETUNREACH (Nexthop has invalid gateway)')
  })
})

describe('a dump', () => {
  it('of hundreds of links gives each of them once', () => {
    run('for i in $(seq 300); do echo "link add d$i type veth peer name e$i"; done | ip -n pod -batch -')
    const names = pod.links().map(({ name }) => name)
    expect(names.sort()).toEqual(
      ipInPod('link')
        .map(({ ifname }: { ifname: string }) => ifname)
        .sort(),
    )
    expect(new Set(names).size).toBe(602)
  })

  it('leaves out the routes of other links', () => {
    pod.apply([{ op: 'setLink', link: { name: 'lo' }, up: true }, address('10.1.0.2/24')])
    run('ip -n pod route add 10.9.0.0/24 dev lo')
    expect(pod.routes(far()).filter(({ dst }) => dst.address.family === 4)).toHaveLength(1)
  })
})

describe('opening a namespace', () => {
  it('identifies it as the kernel does', () => {
    const { dev, ino } = statSync(POD)
    expect(pod.identity.inode).toBe(ino)
    expect(minorOf(pod.identity.device)).toBe(dev & 0xff)
  })

  it.each([
    ['a named pipe', 'mkfifo /run/netns/thing'],
    [
      'a socket',
      `${process.execPath} -e 'Bun.listen({ unix: "/run/netns/thing", socket: { data() {} } }); process.exit()'`,
    ],
    ['a directory', 'mkdir /run/netns/thing'],
    ['a plain file', 'touch /run/netns/thing'],
    ['a device', 'mknod /run/netns/thing c 1 3'],
    ['another kind of namespace', 'touch /run/netns/thing; mount --bind /proc/self/ns/ipc /run/netns/thing'],
    ['a link that leads nowhere', 'ln -s /nowhere /run/netns/thing'],
  ])('refuses %s at once', (_, make) => {
    run(make)
    try {
      expect(faultOf(() => kernel.openNetns('/run/netns/thing')).code).toBe(8)
    } finally {
      run('umount /run/netns/thing 2>/dev/null || true; rm -rf /run/netns/thing')
    }
  })

  it('says that one is missing in words that no runtime takes for a success of DEL', () => {
    const fault = faultOf(() => kernel.openNetns('/run/netns/none'))
    expect(fault.errno).toBe('ENOENT')
    expect(`${fault.message} ${fault.hint}`).not.toMatch(/not found|no such file or directory/i)
  })

  it('leaves no descriptor open, whether it succeeds or not', () => {
    const count = () => Number(run(`ls /proc/${process.pid}/fd | wc -l`))
    const before = count()
    for (let i = 0; i < 20; i++) {
      const netns = kernel.openNetns(POD)
      netns.links()
      netns.close()
      netns.close()
      faultOf(() => kernel.openNetns('/run/netns'))
      faultOf(() => kernel.openNetns('/run/netns/none'))
    }
    // The runtime itself may open one or two meanwhile; a leak would be one each round.
    expect(count() - before).toBeLessThan(10)
  })
})

describe('a visit to the pod', () => {
  it('ends in the host’s namespace, also after a failure', () => {
    const home = readlinkSync('/proc/thread-self/ns/net')
    pod.readSysctl('ipv4/ip_forward')
    faultOf(() => pod.writeSysctl('ipv4/conf/eth0/forwarding', 'nonsense'))
    pod.links()
    expect(readlinkSync('/proc/thread-self/ns/net')).toBe(home)
  })

  it('reads and writes the settings of the pod only', () => {
    const key = 'ipv4/conf/all/forwarding'
    const before = host.readSysctl(key)
    pod.writeSysctl(key, before === '1' ? '0' : '1')
    expect(host.readSysctl(key)).toBe(before)
    expect(run(`ip netns exec pod cat /proc/sys/net/${key}`)).not.toBe(before)
  })

  it('finds the settings of an interface with dots in its name', () => {
    run('ip -n pod link add eth0.a.b type veth peer name other')
    pod.writeSysctl('ipv4/conf/eth0.a.b/arp_notify', '1')
    expect(run('ip netns exec pod cat /proc/sys/net/ipv4/conf/eth0.a.b/arp_notify')).toBe('1')
  })

  it('refuses a setting whose name leads elsewhere', () => {
    faultOf(() => pod.readSysctl('../kernel/hostname'))
    faultOf(() => pod.writeSysctl('ipv4/conf/../../../kernel/hostname', 'x'))
  })

  it('is refused once the namespace was closed', () => {
    const closed = kernel.openNetns(POD)
    closed.close()
    expect(faultOf(() => closed.links()).errno).toBe('EBADF')
    expect(faultOf(() => closed.readSysctl('ipv4/ip_forward')).errno).toBe('EBADF')
  })
})

function far(): number {
  return near.peer ?? 0
}

function address(text: string): Extract<Change, { op: 'addAddress' }> {
  return { op: 'addAddress', linkIndex: far(), cidr: parseCidr(text), noDad: true }
}

// biome-ignore lint/suspicious/noExplicitAny: what ip prints has no type
function ip(args: string): any[] {
  return JSON.parse(run(`ip -j ${args}`) || '[]')
}

// biome-ignore lint/suspicious/noExplicitAny: what ip prints has no type
function ipInPod(args: string): any[] {
  return ip(`-n pod ${args}`)
}

function minorOf(device: number): number {
  return device % 2 ** 20
}
