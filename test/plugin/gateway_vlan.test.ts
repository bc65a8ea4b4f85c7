import { beforeEach, describe, expect, it } from 'vitest'
import { Fault } from '../../src/core/errors.ts'
import { parseMac } from '../../src/core/mac.ts'
import { sysctlName } from '../../src/core/shell.ts'
import type { Change } from '../../src/kernel/kernel.ts'
import { createFakeNode, type FakeAnswer, type FakeNode, L2 } from '../fakes/node.ts'

/* The gateway of a VLAN is a link on top of the bridge, which has to be in that VLAN itself. */
const CONFIG = { ...L2, vlan: 100 }
const OTHER = { containerId: 'c2', netns: '/var/run/netns/pod2' }
const GATEWAY = 'br0.100'

let node: FakeNode

beforeEach(() => {
  node = createFakeNode()
})

const add = (call = {}) => node.call('ADD', { ...call, config: CONFIG })
const apply = (...changes: Change[]) => node.kernel.host().apply(changes)
const linkOf = (name: string) => node.kernel.host().link({ name })
const bridgeIndex = () => linkOf('br0')?.index ?? 0
const bridgeVlans = () =>
  node.kernel
    .host()
    .portVlans(bridgeIndex())
    .map(({ from }) => from)

/** As `bridge vlan del dev br0 vid 100 self` does. */
const leave = () =>
  apply({ op: 'removePortVlan', linkIndex: bridgeIndex(), vlan: { from: 100, to: 100 }, self: true })

const check = ({ json }: FakeAnswer) => node.call('CHECK', { config: { ...CONFIG, prevResult: json } })

describe('a bridge that is no longer in the VLAN of its gateway', () => {
  it('is put into it again by the next ADD', () => {
    const first = add()
    leave()
    expect(check(first).json).toMatchObject({ code: 102 })
    expect(add(OTHER)).toMatchObject({ exitCode: 0 })
    expect(bridgeVlans()).toEqual([1, 100])
    expect(check(first)).toMatchObject({ exitCode: 0 })
  })

  it('is left as it was by an ADD that fails', () => {
    add()
    leave()
    node.beforeStep((what) => {
      if (/writeAt .*\/bowline\/net\//.test(what)) throw new Fault('the test: EIO', { errno: 'EIO' })
    })
    expect(add(OTHER)).toMatchObject({ exitCode: 1 })
    expect(bridgeVlans()).toEqual([1])
  })

  it('needs no change while it is in it: then pods come side by side', () => {
    add()
    const lock = node.files.lock('/var/lib/cni/bowline/.locks/bridge-br0', 0, 'shared')
    expect(add(OTHER)).toMatchObject({ exitCode: 0 })
    lock.release()
  })
})

it('the gateway stops believing router advertisements, and CHECK names it when it believes them', () => {
  const key = 'ipv6/conf/br0.100/accept_ra'
  const host = () => node.kernel.host()
  const first = add()
  expect(host().readSysctl(key)).toBe('0')
  for (const value of ['1', '2']) {
    host().writeSysctl(key, value)
    expect(check(first).json).toMatchObject({
      code: 102,
      details: expect.stringContaining(
        `believes router advertisements [run: sysctl -w ${sysctlName(key)}=0]`,
      ),
    })
    expect(add({ ...OTHER, ifName: `eth${value}` })).toMatchObject({ exitCode: 0 })
    expect(host().readSysctl(key)).toBe('0')
  }
})

describe('a link with the name of the gateway that is', () => {
  beforeEach(() => {
    const mac = parseMac('02:00:00:00:00:99')
    apply({ op: 'createBridge', name: 'br0', mac }, { op: 'createBridge', name: 'br1', mac })
  })

  it.each([
    ['another VLAN of the bridge', 'br0', 200],
    ['the same VLAN of another link', 'br1', 100],
  ])('%s is refused, and left alone', (_, parent, vlan) => {
    apply({ op: 'createVlan', name: GATEWAY, parent: linkOf(parent)?.index ?? 0, vlan })
    const before = node.snapshot()
    const answer = add()
    expect(answer.json).toMatchObject({
      code: 7,
      msg: expect.stringContaining(`${GATEWAY} is to carry the gateway`),
    })
    expect(answer.stdout).toContain('but is not VLAN 100 of bridge br0')
    expect(node.snapshot()).toEqual(before)
  })
})

it('CHECK names a link that took the place of the gateway, and how to have the right one again', () => {
  const added = add()
  apply(
    { op: 'removeLink', link: { name: GATEWAY } },
    { op: 'createVlan', name: GATEWAY, parent: bridgeIndex(), vlan: 200 },
  )
  expect(check(added).json).toMatchObject({
    code: 102,
    details: expect.stringMatching(
      /link br0\.100 is not VLAN 100 of bridge br0 \[run: ip link del dev br0\.100\].*link br0\.100 is missing.*10\.1\.0\.1\/24 is missing/s,
    ),
  })
})
