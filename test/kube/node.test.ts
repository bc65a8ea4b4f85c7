import { expect, it } from 'vitest'
import { nodeView } from '../../src/kube/node.ts'

it.each([
  [{}, []],
  [{ spec: {} }, []],
  [{ spec: { podCIDR: '10.0.0.0/24' } }, ['10.0.0.0/24']],
  [
    { spec: { podCIDR: '10.0.0.0/24', podCIDRs: ['10.0.0.0/24', 'fd00::/64'] } },
    ['10.0.0.0/24', 'fd00::/64'],
  ],
])('the podCIDRs of %j are %j', (node, podCidrs) => {
  expect(nodeView(node).podCidrs).toEqual(podCidrs)
})

it.each([
  [undefined, false],
  [[], false],
  [[{ type: 'Ready', status: 'False' }], false],
  [[{ type: 'NetworkUnavailable', status: 'True' }], false],
  [[{ type: 'NetworkUnavailable', status: 'False' }], true],
])('with the conditions %j the network is available: %j', (conditions, isNetworkAvailable) => {
  expect(nodeView({ status: { conditions } }).isNetworkAvailable).toBe(isNetworkAvailable)
})
