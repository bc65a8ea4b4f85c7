import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { fetchFrom, startPeerServer } from '../../support/node/http_server.ts'
import { run } from '../../support/node/private_namespaces.ts'
import {
  addressesOf,
  clearNode,
  createOutside,
  enterSandbox,
  filesBelow,
  NOTHING,
  nftElements,
  type Outside,
  ping,
  residue,
} from '../../support/node/sandbox.ts'
import { type Containerd, type Pod, shareRun, startContainerd } from '../../support/runtimes/containerd.ts'
import { CONTAINERDS } from '../../support/runtimes/containerd_config.ts'

/*
 * Real containerds make and remove pods through the Container Runtime Interface, with the networks that we ship and
 * the built plugin. The node has a link to an outside host that has no route to the pods.
 */
const CASES = [
  { runtime: 'current', conflist: '10-bowline', cniVersion: '1.1.0', gateway: '10.244.0.1', bridges: [] },
  {
    runtime: 'current',
    conflist: 'example-l2',
    cniVersion: '1.1.0',
    gateway: '10.88.0.1',
    bridges: ['cni0'],
  },
  {
    runtime: 'distribution',
    conflist: '10-bowline',
    cniVersion: '1.0.0',
    gateway: '10.244.0.1',
    bridges: [],
  },
] as const

const RESULTS = '/var/lib/cni/results'
const PORT = 8080

let outside: Outside

beforeAll(() => {
  enterSandbox()
  shareRun()
  outside = createOutside()
})

describe.each(CASES)(
  'containerd ($runtime) on $conflist',
  ({ runtime, conflist, cniVersion, gateway, bridges }) => {
    let containerd: Containerd
    let pods: Pod[] = []
    let podA: Pod
    let podB: Pod

    beforeAll(async () => {
      await clearNode()
      containerd = await startContainerd(CONTAINERDS[runtime], conflist)
    })

    afterAll(() => containerd.stop())

    beforeEach(async () => {
      pods = await Promise.all(['a', 'b'].map((name) => containerd.runPod(name)))
      ;[podA, podB] = pods as [Pod, Pod]
    })

    afterEach(async () => {
      await Promise.all(pods.map((pod) => containerd.removePod(pod)))
      // Each test proves this on its way out.
      expect(await residue()).toEqual({ ...NOTHING, links: bridges })
      expect(filesBelow(RESULTS)).toEqual([])
      expect(readdirSync('/run/netns')).toEqual(['outside'])
    })

    it('reports the address that the pod has', async () => {
      const [address] = await addressesOf('eth0', podA.netns)
      expect(podA.ip).toBe(address?.replace(/\/.*/, ''))
      expect(podA.ip).not.toBe(podB.ip)
    })

    it(`speaks CNI ${cniVersion}, the newest that both know`, () => {
      const cached = filesBelow(RESULTS).filter((path) => path.endsWith('-eth0'))
      expect(cached).toHaveLength(2)
      for (const path of cached) {
        const { result } = JSON.parse(readFileSync(join(RESULTS, path), 'utf8'))
        expect(result.cniVersion).toBe(cniVersion)
      }
    })

    it('lets pods reach each other and their gateway, and the node reach them', async () => {
      expect((await ping(podB.ip, { from: podA.netns })).answered).toBe(1)
      expect((await ping(podA.ip, { from: podB.netns })).answered).toBe(1)
      expect((await ping(gateway, { from: podA.netns })).answered).toBe(1)
      expect((await ping(podA.ip)).answered).toBe(1)
    })

    it('lets a web server in a container be reached by a pod, under its own address, and by the node', async () => {
      await containerd.serve(podB, PORT)
      expect(await fetchFrom(podA.netns, `http://${podB.ip}:${PORT}/cgi-bin/peer`)).toBe(podA.ip)
      expect(await fetchFrom(undefined, `http://${podB.ip}:${PORT}/cgi-bin/peer`)).toBe(gateway)
    })

    it('shows the outside the address of the node', async () => {
      const server = await startPeerServer(outside.netns, PORT)
      const seen = await fetchFrom(podA.netns, `http://${outside.address}:${PORT}/`)
      await server.stop()
      expect(seen).toBe(outside.nodeAddress)
    })

    it('passes on that a pod asks not to be masqueraded', async () => {
      const pod = await containerd.runPod('c', { 'bowline.io/masquerade': 'false', note: '"x"' })
      pods = [...pods, pod]
      const exempt = run('nft list set inet bowline exempt4')
      expect(exempt).toContain(`${pod.ip} comment "${pod.id} eth0"`)
      expect(exempt).not.toContain(`${podA.ip} `)
    })

    it('takes away with a pod only what is its own', async () => {
      await containerd.removePod(podA)
      pods = [podB]
      const now = await residue()
      expect(now.leases.map((path) => path.replace(/.*\//, ''))).toContain(podB.ip)
      expect(await nftElements()).not.toEqual([])
      expect((await ping(gateway, { from: podB.netns })).answered).toBe(1)
    })
  },
)
