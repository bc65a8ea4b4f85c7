import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { ask, type Question, startServers } from '../../support/node/exchange.ts'
import {
  callWith,
  GATEWAY,
  MODES,
  NEIGHBOUR,
  NODE,
  POD,
  useHostPortsNode,
} from '../../support/node/host_ports_node.ts'
import { expectSuccess } from '../../support/node/pods.ts'
import { run } from '../../support/node/private_namespaces.ts'
import type { Netns } from '../../support/node/sandbox.ts'

/* The rules as nft prints them, that a packet meets each of them, and that CHECK names what is missing of them. */
const TCP = { hostPort: 8080, containerPort: 80, protocol: 'tcp' }
const SINGLE = [NODE[4], NODE[6]].map((hostIP) => ({ ...TCP, hostPort: 8083, hostIP }))
const node = useHostPortsNode()

describe('the rules', () => {
  it('say whose an element is, and are met by a packet each', async () => {
    // Else a source of 127.0.0.0/8 would be dropped before it meets our rule.
    const config = { ...MODES.l3, ipspoofchk: false }
    expectSuccess(await callWith(POD, 'ADD', config, [TCP, ...SINGLE]))
    expectSuccess(await callWith(NEIGHBOUR, 'ADD', config))
    expect(run('nft list map inet bowline host-ports-any4')).toContain(
      'elements = { tcp . 8080 comment "pod-a eth0 default/pod-a" : 10.1.0.2 . 80 }',
    )
    expect(run('nft list map inet bowline host-ports-single6')).toContain(
      'elements = { 2001:db8::1 . tcp . 8083 comment "pod-a eth0 default/pod-a" : fd00:1::2 . 80 }',
    )
    expect(run('nft list set inet bowline host-port-clients4')).toContain(
      '10.1.0.2 . 10.1.0.2 comment "pod-a eth0 default/pod-a"',
    )
    const rules = rulesOfHostPorts()
    expect(rules.length).toBe(16)
    const stop = await traceRules()
    await sendAllKinds()
    const met = await stop()
    expect(rules.filter((rule) => !met.includes(rule))).toEqual([])
  })
})

describe.each(['l3', 'l2'] as const)('CHECK in mode %s', (mode) => {
  it.each([
    [
      'an element',
      'nft flush map inet bowline host-ports-any4',
      'host port 8080/tcp does not lead to the pod',
    ],
    [
      'an element of one address',
      'nft flush map inet bowline host-ports-single6',
      `host port [${NODE[6]}]:8083/tcp does not lead`,
    ],
    [
      'the clients',
      'nft flush set inet bowline host-port-clients4',
      'some clients of the host ports would get no answer',
    ],
    [
      'a rule',
      'nft flush chain inet bowline host-ports',
      'the rules of host ports are missing in nftables chain host-ports',
    ],
    [
      'the guard',
      'nft flush chain inet bowline host-ports-input',
      'missing in nftables chain host-ports-input',
    ],
    ['all of it', 'nft delete table inet bowline', 'host port 8080/tcp does not lead to the pod'],
    [
      'route_localnet',
      'for l in $(ls /proc/sys/net/ipv4/conf); do echo 0 > /proc/sys/net/ipv4/conf/$l/route_localnet; done',
      '127.0.0.1 of the node does not lead to the pod',
    ],
  ])('names the loss of %s, and its commands mend it', async (_, damage, words) => {
    const config = MODES[mode]
    const { output } = await callWith(POD, 'ADD', config, [TCP, ...SINGLE])
    const check = () => callWith(POD, 'CHECK', { ...config, prevResult: output })
    expect((await check()).stdout).toBe('')
    run(damage)
    const found = (await check()).output
    expect(`${found.msg} ${found.details}`).toContain(words)
    const commands = [...(found.details ?? '').matchAll(/\[run: (.*?)\](?=;|\. Run)/g)].map(
      ([, one = '']) => one,
    )
    for (const command of commands) run(command)
    expect((await check()).stdout).toBe('')
    node.programs.push(await startServers(POD, 80, 'pod'))
    const question = { transport: 'tcp', address: '127.0.0.1', port: 8080 } as const
    expect(await ask(undefined, [question])).toEqual([`pod ${GATEWAY[4]}`])
  })
})

/** `CHAIN RULE` of every rule of ours. */
function rulesOfHostPorts(): string[] {
  const rules: string[] = []
  let chain = ''
  for (const line of run('nft -s list table inet bowline').split('\n')) {
    chain = /^\tchain (\S+) \{/.exec(line)?.[1] ?? (/^\t\}/.test(line) ? '' : chain)
    const rule = /^\t\t(?!type .* hook )(.+)$/.exec(line)?.[1]
    if (chain.startsWith('host-ports') && rule) rules.push(`${chain} ${rule}`)
  }
  return rules
}

/** Lets the kernel tell of every rule that a packet meets, until the returned function is called. */
async function traceRules(): Promise<() => Promise<string[]>> {
  run(`nft 'add table inet watch
    add chain inet watch pre { type filter hook prerouting priority -350; }; add rule inet watch pre meta nftrace set 1
    add chain inet watch out { type filter hook output priority -350; }; add rule inet watch out meta nftrace set 1'`)
  const file = '/run/trace'
  const monitor = Bun.spawn(['sh', '-c', `exec nft monitor trace > ${file}`])
  await sleep(500)
  return async () => {
    await sleep(500)
    monitor.kill()
    const lines = readFileSync(file, 'utf8').matchAll(/inet bowline (\S+) rule (.*) \(verdict/g)
    return [...lines].map(([, chain = '', rule = '']) => `${chain} ${rule}`)
  }
}

/** Of each kind of client one: what each rule is for. */
async function sendAllKinds(): Promise<void> {
  node.programs.push(await startServers(POD, 80, 'pod'), await startServers(undefined, 9000, 'node'))
  const tcp = (address: string, port = 8080, more: Partial<Question> = {}): Question => ({
    transport: 'tcp',
    address,
    port,
    timeoutMs: 1500,
    ...more,
  })
  const every = [NODE[4], NODE[6]].flatMap((address) => [tcp(address), tcp(address, 8083)])
  expect((await ask(node.outside.netns, every)).join()).toMatch(/^(pod \S+,?){4}$/)
  // The pod itself, and localhost: the answer to the latter comes back by the link.
  expect((await ask(POD, every)).join()).toMatch(/^(pod \S+,?){4}$/)
  await ask(undefined, [tcp('127.0.0.1'), tcp('127.0.0.53'), tcp('::1')])
  run(`sysctl -qw net.ipv4.conf.up0.route_localnet=1
    nft 'add table ip other; add chain ip other p { type nat hook prerouting priority -150; }; add rule ip other p tcp dport 9001 dnat to 127.0.0.1:9000'`)
  expect(await ask(node.outside.netns, [tcp(NODE[4], 9001)])).toEqual(['node 192.0.2.2'])
  run('sysctl -qw net.ipv4.conf.up0.route_localnet=0; nft delete table ip other')
  leadLoopbackOut(POD)
  expect(await ask(POD, [tcp('127.0.0.1', 9000), tcp(NODE[4], 9000, { from: '127.0.0.2' })])).toEqual([
    '',
    '',
  ])
}

function leadLoopbackOut({ name }: Netns): void {
  run(`ip netns exec ${name} sysctl -qw net.ipv4.conf.eth0.route_localnet=1
    ip -n ${name} route del local 127.0.0.0/8 dev lo table local; ip -n ${name} route del local 127.0.0.1 dev lo table local
    ip -n ${name} route add 127.0.0.1 via ${GATEWAY[4]} dev eth0; ip -n ${name} route add local 127.0.0.2 dev lo table local`)
}
