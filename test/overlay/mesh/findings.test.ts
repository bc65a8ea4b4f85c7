import { expect, it } from 'vitest'
import { parseAddress } from '../../../src/core/address.ts'
import type { LocalNode } from '../../../src/overlay/backend.ts'
import { readOverlayConfig } from '../../../src/overlay/config.ts'
import { findingsOf } from '../../../src/overlay/mesh/findings.ts'
import { newHealth, recordAnswer, recordLoss, recordSize } from '../../../src/overlay/mesh/way_health.ts'
import type { Measured } from '../../../src/overlay/mesh/ways.ts'
import { createFakeKernel } from '../../fakes/kernel.ts'

/* What the cause is where several ways are not as they should be. The rest is in the system test of the probes. */

function nodeWith(...addresses: string[]): LocalNode {
  const place = { netns: createFakeKernel().host(), words: '', prefix: '' }
  const config = readOverlayConfig('{}')
  return { name: 'a', addresses: addresses.map(parseAddress), podCidrs: [], place, underlay: [], config }
}

/** A way of a kind (an index of WAYS) with what has been measured: `ok`, `silent`, or the size that it carries. */
function way(index: number, path: string, measured: 'ok' | 'silent' | 'lossy' | number): Measured {
  const health = newHealth()
  const address = index % 2 === 0 ? '192.0.2.2' : '2001:db8::2'
  if (measured !== 'silent') recordAnswer(health, 300, 0)
  if (measured === 'silent') for (let i = 0; i < 3; i++) recordLoss(health, false)
  if (measured === 'lossy') {
    for (let i = 0; i < 3; i++) {
      recordLoss(health, false)
      recordAnswer(health, 300, 0)
    }
  }
  if (typeof measured === 'number') {
    recordSize(health.size, measured, true)
    for (const size of [1450, measured + 1]) recordSize(health.size, size, false)
  }
  return { index, health, way: { destination: parseAddress(address), path, mtu: 1450 } }
}

const hints = (node: LocalNode, ...ways: Measured[]) => findingsOf('b', ways, node).map(({ hint }) => hint)

it('names the value of underlayMtu that lets a tunnel fit, by the family that it travels by', () => {
  const tunnel = way(2, 'vxlan', 1330)
  expect(hints(nodeWith('192.0.2.1'), tunnel)).toEqual([expect.stringContaining('"underlayMtu": 1380')])
  expect(hints(nodeWith('2001:db8::1'), tunnel)).toEqual([expect.stringContaining('"underlayMtu": 1400')])
})

it('names a way that is too small once: that of the nodes, which the others suffer from', () => {
  const node = nodeWith('192.0.2.1')
  expect(hints(node, way(0, 'direct', 1400), way(2, 'vxlan', 1340), way(3, 'vxlan', 1340))).toEqual([
    expect.stringContaining('"underlayMtu": 1400'),
  ])
})

it('asks for the port of the probes where packets to pods arrive, and those to the node do not', () => {
  const [finding, ...others] = findingsOf(
    'b',
    [way(0, 'direct', 'silent'), way(2, 'vxlan', 'ok')],
    nodeWith('192.0.2.1'),
  )
  expect(others).toEqual([])
  expect(finding).toMatchObject({ level: 'warning', hint: expect.stringContaining('UDP port 19475') })
})

it('names the way that loses most', () => {
  const found = findingsOf('b', [way(0, 'direct', 'ok'), way(2, 'vxlan', 'lossy')], nodeWith('192.0.2.1'))
  expect(found).toMatchObject([
    { level: 'warning', message: expect.stringMatching(/^43 % .*192\.0\.2\.2, vxlan/) },
  ])
})

it('finds nothing where all is well, and nothing before anything is measured', () => {
  const node = nodeWith('192.0.2.1')
  expect(findingsOf('b', [way(0, 'direct', 'ok'), way(2, 'vxlan', 'ok')], node)).toEqual([])
  expect(findingsOf('b', [], node)).toEqual([])
})
