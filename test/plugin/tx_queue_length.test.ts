import { expect, it } from 'vitest'
import { createFakeNode, L2, L3, NETNS } from '../fakes/node.ts'
import { CONFIG, withForeignPod } from '../support/foreign_pod.ts'

const lengthOf = ({ kernel }: ReturnType<typeof createFakeNode>) =>
  kernel.openNetns(NETNS).link({ name: 'eth0' })?.txQueueLength

it.each([L2, L3])(
  'the pod gets the transmit queue that the config says, and CHECK tells another length',
  (mode) => {
    const node = createFakeNode()
    const config = { ...mode, txQueueLen: 5000 }
    const prevResult = node.call('ADD', { config }).json
    expect(lengthOf(node)).toBe(5000)
    const check = () => node.call('CHECK', { config: { ...config, prevResult } })
    expect(check()).toMatchObject({ exitCode: 0 })
    node.kernel.openNetns(NETNS).apply([{ op: 'setLink', link: { name: 'eth0' }, txQueueLength: 10 }])
    expect(check().json).toMatchObject({
      msg: expect.stringContaining('eth0 in the pod has a transmit queue of 10 instead of 5000'),
      details: expect.stringContaining('ip link set dev eth0 txqueuelen 5000'),
    })
  },
)

it('a pod without the key keeps the length of the kernel, and CHECK passes whatever it is', () => {
  const node = createFakeNode()
  const prevResult = node.call('ADD', { config: L2 }).json
  expect(lengthOf(node)).toBe(1000)
  node.kernel.openNetns(NETNS).apply([{ op: 'setLink', link: { name: 'eth0' }, txQueueLength: 10 }])
  expect(node.call('CHECK', { config: { ...L2, prevResult } })).toMatchObject({ exitCode: 0 })
})

it.each([0, -1, 1.5, 1_000_001, 2 ** 32, '5000'])(
  '%j is refused with the lengths that are possible',
  (txQueueLen) => {
    const { json } = createFakeNode().call('ADD', { config: { ...L2, txQueueLen } })
    expect(json).toMatchObject({ code: 7 })
    expect(JSON.stringify(json)).toMatch(/txQueueLen.*from 1 to 1000000/)
  },
)

it('is refused behind a plugin that has made the interface', () => {
  const { json } = withForeignPod().call('ADD', { config: { ...CONFIG, txQueueLen: 5000 } })
  expect(json).toMatchObject({ code: 7, msg: expect.stringContaining('key "txQueueLen": 5000 would change') })
})
