import { describe, expect, it } from 'vitest'
import { Code } from '../../src/core/errors.ts'
import { deriveNames } from '../../src/core/names.ts'
import { createFakeNode, type FakeCall, type FakeNode, L2, L3 } from '../fakes/node.ts'

/*
 * A pool of two addresses, held by the pods `old` and `live`. The DEL of `old` never comes, and `next` wants to start.
 */
const small = <T extends typeof L3>(config: T): T => {
  const ranges = [[{ subnet: '10.1.0.0/24', rangeStart: '10.1.0.7', rangeEnd: '10.1.0.8' }]]
  return { ...config, ipam: { ...config.ipam, ranges, routes: [{ dst: '0.0.0.0/0' }] } }
}

const FACES = [
  { face: 'mode l3', config: small(L3), calledAs: 'bowline' },
  { face: 'mode l2', config: small(L2), calledAs: 'bowline' },
  { face: 'the IPAM plugin', config: small(L3), calledAs: 'bowline-ipam' },
]

describe.each(FACES)('a full pool of $face', ({ config, calledAs }) => {
  const callFor = (containerId: string): FakeCall => ({
    containerId,
    netns: netnsOf(containerId),
    config,
    calledAs,
  })
  const add = (node: FakeNode, containerId: string) => node.call('ADD', callFor(containerId))

  function fullNode(): FakeNode {
    const node = createFakeNode()
    for (const id of ['old', 'live', 'next']) node.kernel.makeNetns(netnsOf(id))
    for (const id of ['old', 'live']) expect(add(node, id)).toMatchObject({ exitCode: 0 })
    return node
  }

  it('refuses the next pod while all live, and says what is held by whom and what to do', () => {
    const node = fullNode()
    const { json } = add(node, 'next')
    expect(json).toMatchObject({ code: Code.poolExhausted, msg: expect.stringContaining('2 held, 2 by att') })
    expect(json['details']).toContain('Delete pods')
  })

  it('gives the next pod the address of one whose namespace is gone, and leaves nothing else of that one', () => {
    const node = fullNode()
    node.kernel.removeNetns(netnsOf('old'))
    expect(add(node, 'next').json['ips']).toMatchObject([{ address: '10.1.0.7/24' }])
    const names = ['live', 'next'].map((containerId) => keyOf(containerId))
    expect(node.files.list('/var/lib/cni/bowline/net').sort()).toEqual(names.sort())
    expect(node.files.read('/var/lib/cni/networks/net/10.1.0.7')).toBe('next\r\neth0')
  })

  it('sees that another namespace has taken the path', () => {
    const node = fullNode()
    node.kernel.removeNetns(netnsOf('old'))
    node.kernel.makeNetns(netnsOf('old'))
    expect(add(node, 'next')).toMatchObject({ exitCode: 0 })
  })

  it('sees that what is at the path is no namespace', () => {
    const node = fullNode()
    node.kernel.removeNetns(netnsOf('old'))
    node.kernel.placeFile(netnsOf('old'))
    expect(add(node, 'next')).toMatchObject({ exitCode: 0 })
  })

  it('takes nothing when the namespace can not be looked at', () => {
    const node = fullNode()
    node.kernel.removeNetns(netnsOf('old'))
    node.refuse(/open network namespace .*old/, 'EACCES')
    expect(add(node, 'next').json['code']).toBe(Code.poolExhausted)
  })

  it('takes nothing of an attachment that somebody is at work on', () => {
    const node = fullNode()
    node.kernel.removeNetns(netnsOf('old'))
    const lock = node.files.lock(`/var/lib/cni/bowline/.locks/${keyOf('old').slice(0, 3)}`, 0)
    expect(add(node, 'next').json['code']).toBe(Code.poolExhausted)
    lock.release()
    expect(add(node, 'next')).toMatchObject({ exitCode: 0 })
  })

  it('gives an address that is asked for if only a dead pod has it, and never that of a live one', () => {
    const node = fullNode()
    node.kernel.removeNetns(netnsOf('old'))
    const next = callFor('next')
    expect(node.call('ADD', { ...next, args: 'IP=10.1.0.8' }).json['code']).toBe(Code.addressInUse)
    expect(node.call('ADD', { ...next, args: 'IP=10.1.0.7' })).toMatchObject({ exitCode: 0 })
  })

  it('leaves the new pod alone when the DEL of the old one comes after all', () => {
    const node = fullNode()
    node.kernel.removeNetns(netnsOf('old'))
    const { json: prevResult } = add(node, 'next')
    expect(node.call('DEL', callFor('old'))).toMatchObject({ exitCode: 0 })
    const check = { ...callFor('next'), config: { ...config, prevResult } }
    expect(node.call('CHECK', check)).toMatchObject({ exitCode: 0 })
  })
})

describe('an attachment whose path is gone', () => {
  it.each(FACES.slice(0, 2))('is not reclaimed while its namespace lives on ($face)', ({ config }) => {
    const node = createFakeNode()
    for (const id of ['old', 'live', 'next']) node.kernel.makeNetns(netnsOf(id))
    for (const id of ['old', 'live']) node.call('ADD', { containerId: id, netns: netnsOf(id), config })
    // A process of the pod, say.
    const handle = node.kernel.openNetns(netnsOf('old'))
    node.kernel.removeNetns(netnsOf('old'))
    const next = { containerId: 'next', netns: netnsOf('next'), config }
    expect(node.call('ADD', next).json['code']).toBe(Code.poolExhausted)
    expect(node.call('STATUS', { config }).json['code']).toBe(50)
    handle.close()
    expect(node.call('STATUS', { config }).exitCode).toBe(0)
    expect(node.call('ADD', next)).toMatchObject({ exitCode: 0 })
  })

  it('is not reclaimed when nobody has written down which namespace it was', () => {
    const node = createFakeNode()
    const config = small(L3)
    for (const containerId of ['old', 'live']) {
      // A virtual machine: what its runtime calls a namespace is none.
      const call = { containerId, netns: '/var/run/vm', config, calledAs: 'bowline-ipam' }
      expect(node.call('ADD', call)).toMatchObject({ exitCode: 0 })
    }
    const next = { containerId: 'next', netns: '/var/run/vm', config, calledAs: 'bowline-ipam' }
    expect(node.call('ADD', next).json['code']).toBe(Code.poolExhausted)
  })

  it.each([
    ['has ended', (node: FakeNode) => node.kernel.removeNetns('/proc/7/ns/net')],
    [
      'has ended, and another has its number',
      (node: FakeNode) => {
        node.kernel.removeNetns('/proc/7/ns/net')
        node.kernel.makeNetns('/proc/7/ns/net')
      },
    ],
  ])('is not reclaimed from another’s plugin when the process that the path named %s', (_, end) => {
    const node = createFakeNode()
    const config = small(L3)
    const callFor = (containerId: string, netns: string): FakeCall => ({
      containerId,
      netns,
      config,
      calledAs: 'bowline-ipam',
    })
    for (const path of ['/proc/7/ns/net', netnsOf('old'), netnsOf('next')]) node.kernel.makeNetns(path)
    node.call('ADD', callFor('live', '/proc/7/ns/net'))
    node.call('ADD', callFor('old', netnsOf('old')))
    end(node)
    expect(node.call('ADD', callFor('next', netnsOf('next'))).json['code']).toBe(Code.poolExhausted)
    node.kernel.removeNetns(netnsOf('old'))
    expect(node.call('ADD', callFor('next', netnsOf('next'))).json['ips']).toMatchObject([
      { address: '10.1.0.8/24' },
    ])
  })
})

function netnsOf(containerId: string): string {
  return `/var/run/netns/${containerId}`
}

function keyOf(containerId: string): string {
  return deriveNames({ network: 'net', containerId, ifName: 'eth0' }).key
}
