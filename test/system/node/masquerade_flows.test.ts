import { once } from 'node:events'
import { execa } from 'execa'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { fetchFrom, startPeerServer } from '../../support/node/http_server.ts'
import { startPeerProgram } from '../../support/node/peer_program.ts'
import { callFor, expectSuccess, usePods } from '../../support/node/pods.ts'
import { run } from '../../support/node/private_namespaces.ts'
import { createOutside, type Netns, type Outside } from '../../support/node/sandbox.ts'
import { until } from '../../support/until.ts'

/* What becomes of connections while the rules change, and which rules packets meet. */
const [A, B] = usePods('a', 'b')
const CONFIG = {
  cniVersion: '1.1.0',
  name: 'red',
  type: 'bowline',
  mode: 'l3',
  ipMasq: true,
  ipam: {
    type: 'bowline-ipam',
    ranges: [[{ subnet: '10.7.0.0/24' }], [{ subnet: 'fd07::/64' }]],
    routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
  },
}
const EXEMPT = { args: { cni: { masquerade: false } } }

let outside: Outside

beforeAll(async () => {
  outside = createOutside()
  await startPeerServer(outside.netns, 7001)
  await startPeerProgram(outside.netns, ECHO)
})

const ECHO = `
  Bun.listen({ hostname: '0.0.0.0', port: 7003, socket: { data: (socket, bytes) => void socket.write(bytes) } })
  console.log('listening')`

/** Sends each line that it reads, by one connection, and prints what comes back. */
const CLIENT = `
  const socket = await Bun.connect({ hostname: '192.0.2.2', port: 7003, socket: { data: (_, bytes) => process.stdout.write(bytes) } })
  console.log('connected')
  for await (const line of console) socket.write(line + '\\n')`

const add = async (pod: Netns, more: object = {}) =>
  expectSuccess(await callFor(pod, 'ADD', { ...CONFIG, ...more }))

describe('a connection that is masqueraded', () => {
  let client: ReturnType<typeof open> | undefined

  function open(pod: Netns) {
    const args = [`--net=${pod.path}`, '--', process.execPath, '-e', CLIENT]
    return execa('nsenter', args, { reject: false, killSignal: 'SIGKILL', cwd: '/', buffer: false })
  }
  afterEach(async () => {
    client?.kill('SIGKILL')
    await client
  })

  /** A word goes to the outside and comes back. It may be sent again by then, as TCP does. */
  async function connect(): Promise<(word: string, meanwhile?: () => Promise<void>) => Promise<void>> {
    await add(A)
    const opened = open(A)
    client = opened
    let heard = ''
    opened.stdout.on('data', (bytes) => {
      heard += bytes
    })
    await once(opened.stdout, 'data')
    return async (word, meanwhile) => {
      opened.stdin.write(`${word}\n`)
      await meanwhile?.()
      await until(`the echo of ${word}`, () => heard.includes(word))
    }
  }

  it('goes on through changes of the rules, and through what other programs do to theirs', async () => {
    const say = await connect()
    await say('before')
    const changes = {
      sets: 'nft add element inet bowline cluster4 { 192.0.2.0/24 }; nft delete element inet bowline cluster4 { 192.0.2.0/24 }',
      chain: 'nft flush chain inet bowline masquerade-pods',
      iptables: 'iptables -t nat -A POSTROUTING -j ACCEPT; iptables -t nat -F',
      firewalld: `nft -f - <<'END'
        table inet firewalld
        delete table inet firewalld
        table inet firewalld { chain nat_POSTROUTING { type nat hook postrouting priority 110; oifname "lo" masquerade; }; }
END`,
    }
    for (const [word, change] of Object.entries(changes)) {
      run(change)
      await say(word)
    }
    // As another table of type nat is there, the kernel goes on translating.
    run('nft delete table inet bowline')
    await say('without')
    await add(B)
    await say('after')
    await expectMasqueraded(B)
  })

  it('survives the loss of the whole ruleset when the next ADD brings the rules back', async () => {
    const say = await connect()
    run('nft flush ruleset')
    await say('lost', () => add(B))
    for (const pod of [A, B]) await expectMasqueraded(pod)
  })
})

async function expectMasqueraded(pod: Netns): Promise<void> {
  expect(await fetchFrom(pod, `http://${outside.address}:7001/`)).toBe(outside.nodeAddress)
}

describe('each rule', () => {
  it('is met by a packet, and no other rule is there', async () => {
    await add(A)
    await add(B, EXEMPT)
    run(`nft add element inet bowline cluster4 '{ 203.0.113.0/24 }'; nft add element inet bowline cluster6 '{ 2001:db8:9::/48 }'
      nft add table inet trace; nft add chain inet trace first '{ type filter hook prerouting priority -350; }'
      nft add rule inet trace first meta nftrace set 1`)
    let chain = ''
    const rules = run('nft list table inet bowline')
      .split('\n')
      .map((line) => line.trim())
      .flatMap((line) => {
        chain = /^chain (\S+)/.exec(line)?.[1] ?? chain
        return /^(ip6? [sd]addr|masquerade)/.test(line) ? [`${chain} rule ${line}`] : []
      })
    expect(rules).toHaveLength(10)
    const monitor = execa('sh', ['-c', 'exec nft monitor trace'], { reject: false, buffer: false, cwd: '/' })
    let traced = ''
    monitor.stdout.on('data', (bytes) => {
      traced += bytes
    })
    const met = () => rules.filter((rule) => traced.includes(`inet bowline ${rule} (verdict`))
    const packets = [
      ['a', '10.7.0.3'],
      ['a', 'fd07::3'],
      ['a', '203.0.113.1'],
      ['a', '2001:db8:9::1'],
      ['a', outside.address],
      ['a', '2001:db8::2'],
      ['b', outside.address],
      ['b', '2001:db8::2'],
    ]
    try {
      await until('all rules', () => {
        for (const [pod, address] of packets)
          run(`ip netns exec ${pod} ping -c 1 -W 0.05 ${address} >/dev/null || true`)
        return met().length === rules.length
      })
    } finally {
      monitor.kill('SIGKILL')
      await monitor
    }
    expect(met()).toEqual(rules)
  })
})
