import { describe, expect, it } from 'vitest'
import { callFor, expectSuccess, usePods } from '../../support/node/pods.ts'
import { run } from '../../support/node/private_namespaces.ts'
import { link, type Netns } from '../../support/node/sandbox.ts'

/*
 * A bridge that was made without a MAC has the lowest of its ports', and zeros without any. To the node it is the MAC of
 * its DHCP lease: pods that come and go leave it alone.
 */
const CONFIG = {
  cniVersion: '1.1.0',
  name: 'net',
  type: 'bowline',
  bridge: 'br0',
  ipam: { type: 'bowline-ipam', ranges: [[{ subnet: '10.1.0.0/24' }]] },
}
/** Fails in the pod, long after its port has joined: no route leads to that gateway. */
const FAILING = { ...CONFIG, ipam: { ...CONFIG.ipam, routes: [{ dst: '10.9.0.0/24', gw: '192.0.2.1' }] } }
const GATEWAY = { ...CONFIG, isGateway: true }

const [, ...pods] = usePods('lan', 'pod-0', 'pod-1', 'pod-2', 'pod-3')

const withPort = (mac: string) =>
  `ip link add br0 type bridge; ip link add lan0 address ${mac} type veth peer name lan1 netns lan
   ip link set lan0 master br0; ip link set lan0 up; ip -n lan link set lan1 up; ip link set br0 up`

const BRIDGES: [string, string][] = [
  ['without a port, and down', 'ip link add br0 type bridge'],
  ['without a port, and up', 'ip link add br0 type bridge; ip link set br0 up'],
  ['with a port whose MAC is low', withPort('02:00:00:00:00:01')],
  ['with a port whose MAC is high', withPort('fe:ff:ff:ff:ff:fe')],
  ['with a port that is down', `${withPort('fe:ff:ff:ff:ff:fe')}; ip -n lan link set lan1 down`],
  ['with a MAC of its own', 'ip link add br0 address fe:ff:ff:ff:ff:fe type bridge; ip link set br0 up'],
]

describe.each(BRIDGES)('a bridge %s', (_, make) => {
  it.each([
    ['', CONFIG],
    [' (isGateway)', GATEWAY],
  ])('keeps its MAC while pods come and go, and when the last has gone%s', async (_, config) => {
    run(make)
    const seen = [await mac()]
    for (const pod of pods) {
      const { output } = await call('ADD', pod, config)
      seen.push(output.interfaces?.find(({ name }) => name === 'br0')?.mac, await mac())
    }
    for (const pod of pods.toReversed()) {
      await call('DEL', pod, config)
      seen.push(await mac())
    }
    expect(new Set(seen).size, seen.join(' ')).toBe(1)
  })

  it('keeps its MAC when an ADD fails', async () => {
    run(make)
    const before = await mac()
    expect(await callFor(pods[0] as Netns, 'ADD', FAILING)).toMatchObject({ exitCode: 1 })
    expect(await mac()).toBe(before)
  })

  it('keeps its MAC when the pods are another plugin’s', async () => {
    run(make)
    const seen = [await mac()]
    for (const [i, pod] of pods.entries()) {
      run(`ip link add low${i} address 02:00:00:00:00:0${i} type veth peer name eth0 netns ${pod.name}
        ip link set low${i} up; ip -n ${pod.name} link set eth0 up`)
      const interfaces = [{ name: `low${i}` }, { name: 'eth0', sandbox: pod.path }]
      const prevResult = { cniVersion: '1.1.0', interfaces }
      const { ipam: _, ...config } = CONFIG
      await call('ADD', pod, { ...config, prevResult })
      seen.push(await mac())
      await call('DEL', pod, { ...config, prevResult })
      seen.push(await mac())
      run(`ip link del low${i}`)
    }
    expect(new Set(seen).size, seen.join(' ')).toBe(1)
  })
})

it('the neighbours that a bridge knows stay when a pod joins', async () => {
  run(`${withPort('02:00:00:00:00:01')}; ip addr add 10.1.0.1/24 dev br0
    ip neigh replace 10.1.0.200 lladdr 02:00:00:00:00:02 dev br0 nud permanent`)
  for (const pod of pods) await call('ADD', pod, CONFIG)
  expect(run('ip neigh show dev br0')).toContain('10.1.0.200')
})

const mac = async (): Promise<string | undefined> => (await link('br0'))?.address

async function call(command: 'ADD' | 'DEL', pod: Netns, config: object) {
  const answer = await callFor(pod, command, config)
  expectSuccess(answer)
  return answer
}
