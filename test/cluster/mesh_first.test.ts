import { readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { KubePod } from '../support/cluster/api.ts'
import { CONFLIST, writeConflist } from '../support/cluster/bowline.ts'
import { type Cluster, podCidrOf, startCluster } from '../support/cluster/cluster.ts'
import type { ClusterNode } from '../support/cluster/node.ts'
import {
  addressSeenBy,
  expectNoResidue,
  readyPods,
  removeAll,
  runPod,
  webPod,
} from '../support/cluster/pods.ts'
import { BOWLINE } from '../support/node/plugin.ts'

/*
 * The ordering test of linkerd-cni, retold: a mesh's plugin may be on a node before any network. As its installer does, a stand-in
 * appends itself to every conflist that appears, with all of its own keys.
 */
const MESH = {
  name: 'linkerd-cni',
  type: 'linkerd-cni',
  log_level: 'info',
  kubernetes: { kubeconfig: '/etc/cni/net.d/ZZZ-linkerd-cni-kubeconfig' },
  linkerd: {
    'incoming-proxy-port': 4143,
    'outgoing-proxy-port': 4140,
    'ports-to-redirect': [],
    simulate: false,
  },
}
/** Prints the result of the plugins before it; an empty one where there is none. Says which pods it was called for. */
const PROGRAM = `#!/bin/sh
case $CNI_COMMAND in
VERSION) echo '{"cniVersion": "1.1.0", "supportedVersions": ["0.3.1", "1.0.0", "1.1.0"]}' ;;
ADD)
  echo "$CNI_ARGS" >>/run/mesh.log
  exec jq '.cniVersion as $version | .prevResult // {} | .cniVersion = $version' ;;
esac
`

let cluster: Cluster
let node: ClusterNode
let pod: KubePod

beforeAll(async () => {
  cluster = await startCluster(['current'])
  node = cluster.nodes[0]
})

afterAll(() => cluster?.stop())

type Conflist = { readonly plugins: readonly { readonly type: string; readonly mtu?: number }[] }
const networks = () => `${node.root}/etc/cni/net.d`
const meshed = () => readFileSync(`${node.root}/run/mesh.log`, 'utf8')
const readConflist = () => JSON.parse(readFileSync(`${networks()}/${CONFLIST}`, 'utf8')) as Conflist

/** Puts the mesh last in every conflist. */
function chainMesh(): void {
  for (const name of readdirSync(networks()).filter((one) => one.endsWith('.conflist'))) {
    const list = JSON.parse(readFileSync(`${networks()}/${name}`, 'utf8')) as Conflist
    const plugins = [...list.plugins.filter(({ type }) => type !== MESH.type), MESH]
    writeFileSync(`${networks()}/${name}.install`, JSON.stringify({ ...list, plugins }, null, 2), {
      mode: 0o644,
    })
    renameSync(`${networks()}/${name}.install`, `${networks()}/${name}`)
  }
}

/** Installs on the node what is built, with the shipped conflist and this MTU. */
async function install(mtu: number): Promise<unknown> {
  const shipped = readFileSync(new URL(`../../conf/${CONFLIST}`, import.meta.url), 'utf8')
  const conflist = shipped
    .replace('10.244.0.0/24', `${await podCidrOf(cluster.api, node)}`)
    .replace('"mode": "l3"', `$&, "mtu": ${mtu}`)
  writeFileSync(`${node.root}/etc/new.conflist`, conflist)
  return JSON.parse(await node.exec(BOWLINE, 'install', '--json', '--conf', '/etc/new.conflist'))
}

/** Waits until the kubelet has said why the pod does not start. */
function untilRefused(reason: RegExp): Promise<unknown> {
  return cluster.api.until(`an event ${reason}`, async () => {
    const { items } = await cluster.api.request<{ items: { message: string }[] }>('GET', '/api/v1/events')
    return items.some(({ message }) => reason.test(message))
  })
}

it('starts no pod on a node without a network', async () => {
  await cluster.untilReady(node, 'False')
  await cluster.api.apply(webPod('waiting', node))
  await untilRefused(/network is not ready/i)
})

it('starts none with the mesh alone either, which gives no addresses', async () => {
  writeFileSync(`${node.root}/opt/cni/bin/${MESH.type}`, PROGRAM, { mode: 0o755 })
  writeConflist(node, 'ZZZ-mesh.conflist', { cniVersion: '1.0.0', name: 'mesh', plugins: [MESH] })
  await untilRefused(/sandbox.*failed to find network info/i)
  expect(meshed()).toContain('K8S_POD_NAME=waiting')
  const found = await cluster.api.find<KubePod>('Pod', 'waiting')
  expect(found?.status.podIP).toBeUndefined()
})

it('starts it when our network is installed, behind which the mesh chains itself', async () => {
  expect(await install(1400)).toMatchObject({ conflist: 'installed' })
  chainMesh()
  await cluster.untilReady(node)
  ;[pod] = (await readyPods(cluster, 'waiting', 1)) as [KubePod]
  const behind = await runPod(cluster, webPod('behind', node))
  expect(await addressSeenBy(behind, pod, node)).toBe(pod.status.podIP)
  expect(meshed()).toContain('K8S_POD_NAME=behind')
  await removeAll(cluster, behind)
  await expectNoResidue(cluster, node)
})

it('keeps the mesh as it is, in its place, when it is installed again', async () => {
  const mode = () => (statSync(`${networks()}/${CONFLIST}`).mode & 0o777).toString(8)
  const before = mode()
  expect(await install(1400)).toMatchObject({ conflist: 'unchanged' })
  expect(await install(1380)).toMatchObject({ conflist: expect.not.stringMatching('unchanged') })
  expect(readConflist().plugins).toMatchObject([{ type: 'bowline', mtu: 1380 }, MESH])
  expect([mode(), readConflist().plugins.length]).toEqual([before, 2])
  const again = await runPod(cluster, webPod('again', node))
  expect(await addressSeenBy(again, pod, node)).toBe(pod.status.podIP)
  expect(meshed()).toContain('K8S_POD_NAME=again')
  await removeAll(cluster, again)
  await expectNoResidue(cluster, node)
})
