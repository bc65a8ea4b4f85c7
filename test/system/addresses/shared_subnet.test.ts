import { describe, expect, it } from 'vitest'
import { run } from '../../support/node/private_namespaces.ts'
import {
  call,
  expectReachable,
  expectWorkingPod,
  FAMILIES,
  MODES,
  type Mode,
  type NodeFamily,
  network,
  routesOfNode,
  useRoutedNode,
} from '../../support/node/routed_node.ts'

/* Two networks of one node share a subnet: as long as each address is one pod's, all of it works. */
useRoutedNode()

/** The first network is on bridge br0, the second on another bridge, or on the same. */
type Pair = { readonly first: Mode; readonly second: Mode; readonly bridge: string }
const PAIRS: readonly Pair[] = [
  ...MODES.flatMap((first) => MODES.map((second) => ({ first, second, bridge: 'br1' }))),
  { first: 'l2', second: 'l2', bridge: 'br0' },
]
const CASES = PAIRS.flatMap((pair) => FAMILIES.map((family) => ({ ...pair, family, version: family.family })))

const firstNetwork = (mode: Mode, range: object) => network(mode, range, { name: 'one' })
const secondNetwork = (mode: Mode, bridge: string, range: object, more: object = {}) =>
  network(mode, range, { name: 'two', ...(mode === 'l2' && { bridge }), ...more })

const upper = ({ first }: NodeFamily): string => first.replace(/2$/, '200')

describe.each(CASES)(
  'networks of mode $first and $second ($bridge, IPv$version)',
  ({ first, second, bridge, family }) => {
    const { subnet } = family
    const one = firstNetwork(first, { subnet, rangeEnd: family.second })
    const two = secondNetwork(second, bridge, { subnet, rangeStart: upper(family) })

    it('work side by side when their ranges are disjoint, and leave nothing', async () => {
      const routes = routesOfNode()
      const checkedOne = await expectWorkingPod(one, family, family.first)
      const checkedTwo = await expectWorkingPod(two, family, upper(family), 'pod-b')
      await expectReachable(family, family.first)
      expect((await call('CHECK', checkedOne)).stdout).toBe('')
      await call('DEL', one)
      await expectReachable(family, upper(family), 'pod-b')
      expect((await call('CHECK', checkedTwo, 'pod-b')).stdout).toBe('')
      expect((await call('DEL', two, 'pod-b')).stdout).toBe('')
      run('for link in br0 br1; do ip link del $link 2>&1 || true; done')
      expect(routesOfNode()).toEqual(routes)
    })

    it('never have the same address alive twice', async () => {
      const [own, others] = [firstNetwork(first, { subnet }), secondNetwork(second, bridge, { subnet })]
      await expectWorkingPod(own, family, family.first)
      const { output } = await call('ADD', others, 'pod-b')
      expect(output).toMatchObject({ code: 101 })
      expect(`${output.msg}: ${output.details}`).toContain(
        `${family.first} is in use on this node: pod-a eth0 of network one has it`,
      )
      await expectReachable(family, family.first)
    })

    it('may have an address whose first pod is dead', async () => {
      const [own, others] = [firstNetwork(first, { subnet }), secondNetwork(second, bridge, { subnet })]
      await expectWorkingPod(own, family, family.first)
      run('ip netns del pod-a')
      await expectWorkingPod(others, family, family.first, 'pod-b')
    })
  },
)
