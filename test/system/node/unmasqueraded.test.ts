import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { fetchFrom, startPeerServer } from '../../support/node/http_server.ts'
import { type PeerProgram, startPeerProgram } from '../../support/node/peer_program.ts'
import { callFor, expectSuccess, usePods } from '../../support/node/pods.ts'
import { run } from '../../support/node/private_namespaces.ts'
import { createOutside, NOTHING, type Outside, residue, runIn } from '../../support/node/sandbox.ts'

/*
 * Who sees a pod's own address although its network is masqueraded. The outside has a second address, and knows the way back to pods: it
 * answers, and says which address has asked.
 */
const SUBNET = '10.7.0.0/24'
const SECOND = '198.51.100.2'
const SECOND6 = '2001:db8:2::2'
const [A, B] = usePods('a', 'b')
const TABLE = 'nft list table inet bowline'

let outside: Outside
let servers: readonly PeerProgram[]

beforeAll(async () => {
  outside = createOutside()
  run(`ip -n outside address add ${SECOND}/32 dev lo; ip -n outside address add ${SECOND6}/128 dev lo
    ip -n outside route add 10.7.0.0/16 via 192.0.2.1; ip -n outside route add fd07::/16 via 2001:db8::1`)
  servers = [await startPeerServer(outside.netns, 7001), await startPeerProgram(outside.netns, PORT_SERVER)]
})
afterAll(async () => {
  for (const server of servers) await server.stop()
})

function network(name: string, more: object = {}, range: object = {}) {
  return {
    cniVersion: '1.1.0',
    name,
    type: 'bowline',
    mode: 'l3',
    ipMasq: true,
    ipam: {
      type: 'bowline-ipam',
      ranges: [
        [{ subnet: SUBNET, ...range }],
        [{ subnet: 'fd07::/64', ...(name === 'blue' && { rangeStart: 'fd07::100' }) }],
      ],
      routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
    },
    ...more,
  }
}
const red = (more: object = {}) => network('red', more, { rangeEnd: '10.7.0.99' })
const blue = (more: object = {}) => network('blue', more, { rangeStart: '10.7.0.100' })

async function add(pod: typeof A, config: object, more: object = {}): Promise<unknown> {
  const answer = await callFor(pod, 'ADD', { ...config, ...more })
  expectSuccess(answer)
  return answer.output
}
const del = async (pod: typeof A, config: object) => expectSuccess(await callFor(pod, 'DEL', config))

/** Which address the outside sees: `own` or that of the node. */
async function seenFrom(pod: typeof A, address = SECOND): Promise<'own' | 'node'> {
  const seen = await fetchFrom(pod, `http://${address.includes(':') ? `[${address}]` : address}:7001/`)
  return [outside.nodeAddress, '2001:db8::1'].includes(seen) ? 'node' : 'own'
}

describe('nonMasqueradeCIDRs', () => {
  it('names who sees the pod itself, in both families; all others see the node', async () => {
    await add(A, red({ nonMasqueradeCIDRs: [`${SECOND}/31`, '2001:db8:2::/64'] }))
    expect(await seenFrom(A)).toBe('own')
    expect(await seenFrom(A, SECOND6)).toBe('own')
    expect(await seenFrom(A, outside.address)).toBe('node')
    expect(run(TABLE)).toMatch(/198\.51\.100\.2\/31 comment "network red"/)
    await del(A, red())
    expect(await residue()).toEqual(NOTHING)
  })

  it('of two networks in one subnet add up, whether they overlap or are equal, and each takes its own away', async () => {
    const [narrow, wide] = [[`${SECOND}/32`], ['198.51.100.0/24', '203.0.113.0/24']]
    await add(A, red({ nonMasqueradeCIDRs: narrow }))
    await add(B, blue({ nonMasqueradeCIDRs: wide }))
    expect(run(TABLE)).toMatch(/198\.51\.100\.0\/24 comment "network blue"/)
    for (const pod of [A, B]) expect(await seenFrom(pod)).toBe('own')
    await del(B, blue())
    expect(run(TABLE)).not.toContain('203.0.113')
    expect(run(TABLE)).toMatch(/198\.51\.100\.2 comment "network red"/)
    expect(await seenFrom(A)).toBe('own')
    await add(B, blue({ nonMasqueradeCIDRs: narrow }))
    await del(A, red())
    expect(await seenFrom(B)).toBe('own')
    await del(B, blue())
    expect(await residue()).toEqual(NOTHING)
  })

  it('are nothing to a network of another subnet', async () => {
    await add(A, red({ nonMasqueradeCIDRs: [`${SECOND}/32`] }))
    const other = network('other')
    other.ipam.ranges = [[{ subnet: '10.7.1.0/24' }]]
    await add(B, other)
    expect(await seenFrom(B)).toBe('node')
    expect(await seenFrom(A)).toBe('own')
  })

  it('hold for the whole subnet from the next ADD, also when they are left out again; GC changes nothing', async () => {
    await add(A, red())
    expect(await seenFrom(A)).toBe('node')
    const prevResult = await add(B, red({ nonMasqueradeCIDRs: [`${SECOND}/32`] }))
    expect(await seenFrom(A)).toBe('own')
    const made = run(TABLE)
    const valid = [A, B].map(({ name }) => ({ containerID: name, ifname: 'eth0' }))
    expectSuccess(await callFor(A, 'GC', red({ 'cni.dev/valid-attachments': valid })))
    expect(run(TABLE)).toBe(made)
    expectSuccess(await callFor(B, 'CHECK', red({ nonMasqueradeCIDRs: [`${SECOND}/32`], prevResult })))
    await del(B, red())
    await add(B, red())
    expect(await seenFrom(A)).toBe('node')
  })

  it.each([
    [
      { nonMasqueradeCIDRs: ['10.0.0.0'] },
      /nonMasqueradeCIDRs\[0\].*10\.0\.0\.0.* is not an address with a prefix length/,
    ],
    [{ nonMasqueradeCIDRs: '10.0.0.0/8' }, /nonMasqueradeCIDRs.* is not a list/],
    [{ ipMasqFullyRandom: 'no' }, /ipMasqFullyRandom.* is not true or false/],
  ])('%j is refused, and nothing is left', async (more, why) => {
    const answer = await callFor(A, 'ADD', red(more))
    expect(answer.exitCode).toBe(1)
    expect(answer.stdout).toMatch(why)
    expect(await residue()).toEqual(NOTHING)
  })
})

describe('a pod that asks not to be masqueraded', () => {
  const annotated = (value: string) => ({
    runtimeConfig: { 'io.kubernetes.cri.pod-annotations': { 'bowline.io/masquerade': value, other: 'x' } },
  })

  it.each([
    ['by an annotation', annotated('false')],
    ['by args.cni', { args: { cni: { masquerade: false } } }],
  ])(
    '%s keeps its address, the others of its network do not; its DEL takes its elements along',
    async (_, asked) => {
      const prevResult = await add(A, red(), asked)
      await add(B, red())
      expect(await seenFrom(A)).toBe('own')
      expect(await seenFrom(A, SECOND6)).toBe('own')
      expect(await seenFrom(B)).toBe('node')
      expect(run('nft list set inet bowline exempt4')).toMatch(/10\.7\.0\.2 comment "a eth0"/)
      // A runtime may leave out at CHECK what it has said at ADD.
      expectSuccess(await callFor(A, 'CHECK', red({ prevResult })))
      run('nft flush set inet bowline exempt4')
      const { stdout } = await callFor(A, 'CHECK', red({ prevResult }))
      expect(stdout).toMatch(
        /the pod is masqueraded although it asked not to be: the nftables element of 10\.7\.0\.2 is missing/,
      )
      for (const command of JSON.parse(stdout).details.match(/(?<=\[run: )[^\]]*/g)) run(command)
      expect(await seenFrom(A)).toBe('own')
      await del(A, red())
      expect(run('nft list set inet bowline exempt4')).not.toContain('elements')
      expect(run('nft list set inet bowline exempt6')).not.toContain('elements')
      await del(B, red())
      expect(await residue()).toEqual(NOTHING)
    },
  )

  it('is masqueraded with any other word of consent, and refused with another word', async () => {
    await add(A, red(), annotated('true'))
    expect(await seenFrom(A)).toBe('node')
    const answer = await callFor(B, 'ADD', { ...red(), ...annotated('nope') })
    expect(answer.stdout).toMatch(/bowline\.io\/masquerade.*nope.* is not one of/)
  })

  it('is found by GC when its record is lost', async () => {
    await add(A, red(), annotated('false'))
    await add(B, red())
    run(
      'rm /var/lib/cni/bowline/red/$(grep -l \\"a\\" /var/lib/cni/bowline/red/* | head -1 | xargs basename); ip netns del a',
    )
    expectSuccess(
      await callFor(B, 'GC', red({ 'cni.dev/valid-attachments': [{ containerID: 'b', ifname: 'eth0' }] })),
    )
    expect(run('nft list set inet bowline exempt4')).not.toContain('elements')
  })
})

describe('the source port', () => {
  /** Each of two pods asks from its port 40000, at once; the outside says which port it has seen. */
  const ports = async () => {
    const url = `http://${outside.address}:7002/`
    const asked = [A, B].map((pod) => runIn(pod, 'curl', '-sgf', '-m', '5', '--local-port', '40000', url))
    return (await Promise.all(asked)).map(Number)
  }

  it.each([
    [true, 'masquerade fully-random'],
    [false, 'masquerade'],
  ])('is random or, where it is free, kept: ipMasqFullyRandom %s', async (ipMasqFullyRandom, rule) => {
    for (const pod of [A, B]) await add(pod, red({ ipMasqFullyRandom }))
    const rules = run(TABLE)
      .split('\n')
      .map((line) => line.trim())
    expect(rules.filter((line) => line.startsWith('masquerade'))).toEqual([rule, rule])
    const seen = await ports()
    expect(new Set(seen).size).toBe(2)
    expect(seen.includes(40_000)).toBe(!ipMasqFullyRandom)
  })
})

const PORT_SERVER = `
  Bun.serve({
    port: 7002,
    fetch: (request, server) => new Response(String(server.requestIP(request).port)),
  })
  console.log('listening')`
