import { describe, expect, it } from 'vitest'
import { ask, startServers } from '../../support/node/exchange.ts'
import {
  callWith,
  type Mapping,
  MODES,
  NEIGHBOUR,
  NODE,
  OTHER_OWN,
  POD,
  useHostPortsNode,
} from '../../support/node/host_ports_node.ts'
import { startPeerProgram } from '../../support/node/peer_program.ts'
import { expectSuccess } from '../../support/node/pods.ts'
import { run } from '../../support/node/private_namespaces.ts'
import { removeNetns, residue } from '../../support/node/sandbox.ts'

/* Who has a port keeps it: another pod, or a program of the node. A pod that is gone holds nothing. */
const CONFIG = MODES.l3
const node = useHostPortsNode()

const port = (more: Partial<Mapping> = {}): Mapping => ({
  hostPort: 8080,
  containerPort: 80,
  protocol: 'tcp',
  ...more,
})
const [A4, B4, A6] = [NODE[4], OTHER_OWN[4], NODE[6]]

describe('two pods', () => {
  it.each<[string, Mapping, Mapping]>([
    ['have the same port', port(), port()],
    ['have it on any address, and on one', port(), port({ hostIP: A4 })],
    ['have it on one address, and on any', port({ hostIP: A6 }), port()],
    ['have it on the same address', port({ hostIP: A4 }), port({ hostIP: A4, containerPort: 81 })],
    ['have it on any address of both families, and of one', port(), port({ hostIP: '::' })],
    ['have it on any address of IPv4, and on one', port({ hostIP: '0.0.0.0' }), port({ hostIP: A4 })],
  ])('cannot both have a port: %s', async (_, first, second) => {
    expectSuccess(await callWith(POD, 'ADD', CONFIG, [first]))
    const before = await state()
    const { output } = await callWith(NEIGHBOUR, 'ADD', CONFIG, [port({ hostPort: 9090 }), second])
    expect(output).toMatchObject({ code: 101 })
    const place = second.hostIP
      ? `${second.hostIP.includes(':') ? `[${second.hostIP}]` : second.hostIP}:8080/tcp`
      : '8080/tcp'
    expect(output.msg).toContain(
      `host port ${place} is held by pod default/pod-a (container pod-a, eth0 of network ports)`,
    )
    expect(output.details).toContain('Delete that pod')
    expect(await state()).toEqual(before)
    expectSuccess(await callWith(POD, 'DEL', CONFIG))
    expectSuccess(await callWith(NEIGHBOUR, 'ADD', CONFIG, [second]))
  })

  it.each<[string, Mapping, Mapping]>([
    ['of other protocols', port(), port({ protocol: 'udp' })],
    ['on other addresses', port({ hostIP: A4 }), port({ hostIP: B4 })],
    ['of other families', port({ hostIP: '0.0.0.0' }), port({ hostIP: '::' })],
    ['of other families, one on an address', port({ hostIP: A4 }), port({ hostIP: '::' })],
    ['of other numbers', port(), port({ hostPort: 8081 })],
  ])('can have the same port: %s', async (_, first, second) => {
    expectSuccess(await callWith(POD, 'ADD', CONFIG, [first]))
    expectSuccess(await callWith(NEIGHBOUR, 'ADD', CONFIG, [second]))
  })

  it('of one pod that would lead to two of its ports is refused', async () => {
    const { output } = await callWith(POD, 'ADD', CONFIG, [port(), port({ containerPort: 81 })])
    expect(output).toMatchObject({ code: 7 })
    expect(output.msg).toContain('8080/tcp is to lead to ports 80 and 81 of the pod')
  })
})

describe('a program of the node', () => {
  it.each<[string, string, Mapping]>([
    ['on any address', "tcp('0.0.0.0')", port()],
    ['on any address of both families', "tcp('::')", port({ hostIP: A4 })],
    ['on localhost', "tcp('127.0.0.1')", port()],
    ['on the same address', `tcp('${A4}')`, port({ hostIP: A4 })],
    ['on one address of those', `tcp('${A6}')`, port()],
    ['by UDP', "udp('0.0.0.0')", port({ protocol: 'udp' })],
  ])('keeps its port: %s', async (_, listen, mapping) => {
    await listenOn(listen)
    const before = await state()
    const { output } = await callWith(POD, 'ADD', CONFIG, [mapping])
    expect(output).toMatchObject({ code: 101 })
    expect(output.msg).toMatch(/host port \S*8080\/(tcp|udp) is held by a program of the node, at \S+:8080/)
    // The command of the hint finds it.
    const [, command = 'false'] = /Find the program with "([^"]*)"/.exec(output.details ?? '') ?? []
    expect(run(command)).toContain('bun')
    expect(await state()).toEqual(before)
  })

  it.each<[string, string, Mapping]>([
    ['of another protocol', "tcp('0.0.0.0')", port({ protocol: 'udp' })],
    ['on another address', `tcp('${B4}')`, port({ hostIP: A4 })],
    ['on an address of localhost that host ports leave alone', "tcp('127.0.0.53')", port()],
    ['on ::1', "tcp('::1')", port()],
    ['that is a client', `client()`, port({ protocol: 'udp' })],
  ])('%s stands in nobody’s way', async (_, listen, mapping) => {
    await listenOn(listen)
    expectSuccess(await callWith(POD, 'ADD', CONFIG, [mapping]))
  })
})

describe('a port of a pod', () => {
  it('that is gone without a DEL goes to the next, and the late DEL leaves it there', async () => {
    expectSuccess(await callWith(POD, 'ADD', CONFIG, [port()]))
    removeNetns(POD.name)
    expectSuccess(await callWith(NEIGHBOUR, 'ADD', CONFIG, [port()]))
    expectSuccess(await callWith(POD, 'DEL', CONFIG))
    node.programs.push(await startServers(NEIGHBOUR, 80, 'next'))
    const question = { transport: 'tcp', address: A4, port: 8080 } as const
    expect(await ask(node.outside.netns, [question])).toEqual(['next 192.0.2.2'])
    expect(comments()).toEqual(['pod-b eth0 default/pod-b'])
  })

  it('of which the record is lost goes to the next', async () => {
    expectSuccess(await callWith(POD, 'ADD', CONFIG, [port()]))
    run('rm /var/lib/cni/bowline/ports/????????????????????????????????')
    expectSuccess(await callWith(NEIGHBOUR, 'ADD', CONFIG, [port()]))
    expectSuccess(await callWith(POD, 'DEL', CONFIG))
    expect(comments()).toEqual(['pod-b eth0 default/pod-b'])
  })

  it.each([
    ['', 'true'],
    [', whose namespace is gone', 'ip netns del pod-a'],
    [', whose record is lost', 'rm /var/lib/cni/bowline/ports/????????????????????????????????'],
    [', of which elements are gone', 'nft flush map inet bowline host-ports-any4'],
    [', of which rules are gone', 'nft flush chain inet bowline host-ports-prerouting'],
    [', whose table is gone', 'nft delete table inet bowline'],
  ])('goes with the last pod%s', async (_, damage) => {
    expectSuccess(await callWith(POD, 'ADD', CONFIG, [port(), port({ hostIP: A4, hostPort: 8081 })]))
    run(damage)
    expectSuccess(await callWith(POD, 'DEL', CONFIG))
    expect((await residue()).nftTables).toEqual([])
  })

  it('goes with GC of a pod that is not valid any more, and stays for the others', async () => {
    expectSuccess(await callWith(POD, 'ADD', CONFIG, [port()]))
    expectSuccess(await callWith(NEIGHBOUR, 'ADD', CONFIG, [port({ hostPort: 8081 })]))
    run('rm /var/lib/cni/bowline/ports/*') // Of both: elements of a valid attachment have a record, as a rule.
    expectSuccess(await callWith(POD, 'GC', { ...CONFIG, 'cni.dev/valid-attachments': [] }))
    expect((await residue()).nftTables).toEqual([])
  })
})

async function state(): Promise<object> {
  return { residue: await residue(), ruleset: run('nft list ruleset') }
}

/** Whose elements there are. */
function comments(): string[] {
  const found = run('nft list table inet bowline').matchAll(/comment "([^"]*)"/g)
  return [...new Set([...found].map(([, comment = '']) => comment))]
}

async function listenOn(what: string): Promise<void> {
  const text = `
    const tcp = (hostname) => Bun.listen({ hostname, port: 8080, socket: { data() {} } })
    const udp = (hostname) => Bun.udpSocket({ hostname, port: 8080 })
    const client = () => Bun.udpSocket({ hostname: '${A4}', port: 8080, connect: { hostname: '192.0.2.2', port: 53 } })
    await ${what}
    console.log('listening')`
  node.programs.push(await startPeerProgram(undefined, text))
}
