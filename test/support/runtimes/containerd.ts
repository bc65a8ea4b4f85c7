import { copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { execa } from 'execa'
import { fillPluginDirectory } from '../node/plugin.ts'
import { run } from '../node/private_namespaces.ts'
import type { Netns } from '../node/sandbox.ts'
import { newCgroupName, removeCgroups } from './cgroups.ts'
import { containerdConfig, containerdVersion } from './containerd_config.ts'
import { type Cri, connectCri, type PodSandboxStatus } from './cri.ts'
import { IMAGE, packImage, webServerCommand } from './image.ts'

/*
 * A real containerd on the sandbox's node: it shares the network namespace and the files of the test, and has process
 * namespaces of its own, so that shims and pods end with it whichever way it ends. What it mounts below /run is seen
 * by the test as well: the pods' network namespaces.
 */
const HOME = '/run/containerd-test'
const SOCKET = `${HOME}/containerd.sock`
const CGROUP = newCgroupName()
const READY_TIMEOUT_MS = 30_000
// There are others, such as a warning of control groups that will not be supported for ever.
const NEEDED = ['RuntimeReady', 'NetworkReady']

export type Pod = { readonly id: string; readonly name: string; readonly ip: string; readonly netns: Netns }

export type Containerd = {
  readonly version: string
  /** Makes a pod, as the kubelet asks for it. */
  runPod(name: string, annotations?: Readonly<Record<string, string>>): Promise<Pod>
  /** Starts a web server in the pod. */
  serve(pod: Pod, port: number): Promise<void>
  /** Stops and removes the pod, with its containers. */
  removePod(pod: Pod): Promise<void>
  stop(): Promise<void>
}

/** Makes /run a place whose mounts the test and containerd share. Once a file, right after `enterSandbox`. */
export function shareRun(): void {
  run('mount -t tmpfs tmpfs /run; mount --make-shared /run; mkdir -p /run/netns')
}

/** Starts containerd with one of the networks in conf/ and our plugin; ready for pods when the promise is fulfilled. */
export async function startContainerd(programs: string, conflist: string): Promise<Containerd> {
  const version = await containerdVersion(programs)
  prepareHome(version, conflist)
  const server = execa('setpriv', ['--pdeathsig', 'KILL', 'unshare', ...UNSHARE, 'bash', '-c', INIT], {
    env: { PATH: `${programs}:${process.env['PATH']}` },
    reject: false,
    all: true,
  })
  const cri = connectCri(SOCKET)
  await waitUntilReady(cri, server)
  await packImage(`${HOME}/image.tar`)
  await execa(join(programs, 'ctr'), ['-a', SOCKET, '-n', 'k8s.io', 'images', 'import', `${HOME}/image.tar`])
  return {
    version,
    runPod: (name, annotations) => runPod(cri, name, annotations),
    serve: (pod, port) => serve(cri, pod, port),
    removePod: ({ id }) => removePod(cri, id),
    stop: async () => {
      cri.close()
      server.kill('SIGKILL')
      await server
      await removeHome()
    },
  }
}

// pid 1 of the process namespace reaps what shims leave behind, which containerd itself would not do.
const INIT = `containerd -c ${HOME}/config.toml & wait $!`
const UNSHARE = [
  '--pid',
  '--mount',
  '--uts',
  '--fork',
  '--kill-child',
  '--mount-proc',
  '--propagation',
  'unchanged',
]

type Server = { readonly exitCode: number | null; kill(signal: 'SIGKILL'): boolean }

function prepareHome(version: string, conflist: string): void {
  mkdirSync(`${HOME}/net.d`, { recursive: true })
  fillPluginDirectory(`${HOME}/cni-bin`)
  copyFileSync(
    resolve(import.meta.dirname, `../../../conf/${conflist}.conflist`),
    `${HOME}/net.d/${conflist}.conflist`,
  )
  const paths = { root: '/var/lib/containerd-test', state: `${HOME}/state`, socket: SOCKET }
  const cni = { bin: `${HOME}/cni-bin`, conf: `${HOME}/net.d` }
  writeFileSync(`${HOME}/config.toml`, containerdConfig(version, { ...paths, cni }))
}

async function waitUntilReady(cri: Cri, server: Server & PromiseLike<{ all?: string }>): Promise<void> {
  const deadline = Date.now() + READY_TIMEOUT_MS
  let last: unknown
  while (Date.now() < deadline && server.exitCode === null) {
    try {
      const { status } = await cri.status()
      const unready = status.conditions.filter(({ type, status }) => !status && NEEDED.includes(type))
      if (unready.length === 0) return
      last = JSON.stringify(unready)
    } catch (error) {
      last = error
    }
    await sleep(50)
  }
  server.kill('SIGKILL')
  const log = (await server).all?.split('\n').filter((line) => !/level=(info|debug)/.test(line))
  throw new Error(`containerd is not ready: ${last}\n${log?.join('\n')}`)
}

async function runPod(
  cri: Cri,
  name: string,
  annotations: Readonly<Record<string, string>> = {},
): Promise<Pod> {
  const { pod_sandbox_id: id } = await cri.runPodSandbox({ ...sandboxConfig(name), annotations })
  const { status, info } = await cri.podSandboxStatus(id)
  return { id, name, ip: status.network.ip, netns: netnsOf(status, info) }
}

function sandboxConfig(name: string) {
  return {
    metadata: { name, uid: `uid-${name}`, namespace: 'default', attempt: 0 },
    hostname: name,
    log_directory: `${HOME}/logs`,
    linux: { cgroup_parent: `/${CGROUP}` },
  }
}

function netnsOf({ id }: PodSandboxStatus, info: Record<string, string>): Netns {
  const path = /"path":"\/(?:var\/)?run\/netns\/(cni-[^"]*)"/.exec(info['info'] ?? '')?.[1]
  if (!path) throw new Error(`containerd tells no network namespace of sandbox ${id}: ${info['info']}`)
  return { name: path, path: `/run/netns/${path}` }
}

async function serve(cri: Cri, { id, name }: Pod, port: number): Promise<void> {
  const config = {
    metadata: { name: 'web', attempt: 0 },
    image: { image: IMAGE },
    command: webServerCommand(port),
  }
  const { container_id } = await cri.createContainer(id, config, sandboxConfig(name))
  await cri.startContainer(container_id)
}

async function removePod(cri: Cri, id: string): Promise<void> {
  await cri.stopPodSandbox(id)
  await cri.removePodSandbox(id)
}

// The control groups of dead containers are all that outlives the process namespace.
async function removeHome(): Promise<void> {
  run(`umount -R ${HOME}/state/* 2>&1 || true`)
  for (const directory of ['/var/lib/containerd-test', HOME])
    rmSync(directory, { recursive: true, force: true })
  await removeCgroups(CGROUP)
}
