import { copyFileSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { execa } from 'execa'
import { run } from '../node/private_namespaces.ts'
import type { Netns } from '../node/sandbox.ts'
import { createCgroups, newCgroupName, removeCgroups } from '../runtimes/cgroups.ts'
import { CONTAINERDS, containerdVersion } from '../runtimes/containerd_config.ts'
import type { KubePod } from './api.ts'
import { CONTROL_PLANE, CONTROL_PLANE_6 } from './control_plane.ts'
import { initScript, joinScript, prepareBoot, writeDisk, writeNodeIps } from './node_files.ts'

export type Service = 'containerd' | 'kubelet' | 'kube-proxy'

export type ClusterNode = {
  readonly name: string
  readonly address: string
  readonly address6: string
  /** The directory where the test finds the node's /etc, /opt, /run, /var/lib and /var/log. */
  readonly root: string
  /** The node's network. Another one after each boot. */
  readonly netns: Netns
  /** Runs a program on the node; returns what it prints. Throws when it fails. */
  exec(command: string, ...args: string[]): Promise<string>
  /** Runs a program of the node in the network of a running pod. */
  execInPod(pod: KubePod, command: string, ...args: string[]): Promise<string>
  /** Returns the process, as the node counts them, of a pod's pause container (`sandbox`) or of its container. */
  pidOf(pod: KubePod, kind: 'sandbox' | 'container'): Promise<string>
  /** Makes the images of an archive (docker's format or OCI's) known to the node's containerd. */
  importImages(archive: string): Promise<void>
  /** Ends a service with a signal and waits until it works again. */
  restart(service: Service, signal?: 'TERM' | 'KILL'): Promise<void>
  /** Lets the kubelet report these addresses of its node, which must have them: restarts it. */
  report(nodeIps: readonly string[]): Promise<void>
  /** Ends a service, which stays away until `enable`. */
  disable(service: Service): Promise<void>
  /** Starts a service and waits until it works. The kubelet's first time is `startCluster`'s; kube-proxy runs only if a test says so. */
  enable(service: Service): Promise<void>
  /** Cuts the power: all processes, mounts and network namespaces are gone, the disk stays. */
  cutPower(): Promise<void>
  /** Boots the node after `cutPower`, from the same disk. */
  boot(): Promise<void>
}

/** How a service tells that it works. */
const HEALTH: Readonly<Record<Service, readonly string[]>> = {
  containerd: ['ctr', 'version'],
  kubelet: ['curl', '-sf', 'http://127.0.0.1:10248/healthz'],
  'kube-proxy': ['curl', '-sf', 'http://127.0.0.1:10256/healthz'],
}
const BOOT_TIMEOUT_MS = 30_000
const SERVICE_TIMEOUT_MS = 60_000

type Machine = {
  readonly name: string
  readonly number: number
  readonly address: string
  readonly address6: string
  readonly root: string
  readonly programs: string
  readonly cgroup: string
  /** The first process, and unshare, which has started it. Undefined while the power is off. */
  running: { pid: number; end: () => Promise<void> } | undefined
}

/** Creates a node with a fresh disk below `home` and boots it, without the kubelet. */
export async function createNode(
  home: string,
  number: number,
  containerd: keyof typeof CONTAINERDS,
  isDualStack: boolean,
): Promise<ClusterNode> {
  const programs = CONTAINERDS[containerd]
  const name = `node${number}`
  const [root, address, address6] = [join(home, name), `10.89.0.${10 + number}`, `fd00:89::${10 + number}`]
  writeDisk(root, isDualStack ? [address, address6] : [address], await containerdVersion(programs))
  const cgroup = newCgroupName()
  const machine: Machine = {
    name,
    number,
    address,
    address6,
    root,
    programs,
    cgroup,
    running: undefined,
  }
  const node: ClusterNode = {
    name,
    address,
    address6,
    root,
    get netns() {
      return { name, path: `/proc/${pidOf(machine)}/ns/net` }
    },
    exec: (...command) => exec(machine, command),
    execInPod: async (pod, ...command) => {
      const pid = await taskOf(machine, pod, 'container')
      return exec(machine, ['nsenter', '--net', '--target', pid, '--', ...command])
    },
    pidOf: (pod, kind) => taskOf(machine, pod, kind),
    importImages: async (archive) => {
      copyFileSync(archive, `${root}/run/images.tar`)
      await ctr(machine, 'images', 'import', '/run/images.tar')
      rmSync(`${root}/run/images.tar`)
    },
    restart: (service, signal = 'TERM') => restart(machine, service, signal),
    report: async (nodeIps) => {
      writeNodeIps(root, nodeIps)
      await restart(machine, 'kubelet', 'TERM')
    },
    disable: async (service) => {
      rmSync(enabledFile(machine, service))
      await end(machine, service, 'TERM')
    },
    enable: (service) => enable(machine, service),
    cutPower: () => cutPower(machine),
    boot: async () => {
      await boot(machine)
      await enable(machine, 'containerd')
      await enable(machine, 'kubelet')
    },
  }
  await boot(machine)
  await enable(machine, 'containerd')
  return node
}

async function boot(machine: Machine): Promise<void> {
  prepareBoot(machine.root)
  const { name, root, programs } = machine
  const script = joinScript(createCgroups(machine.cgroup))
  const namespaces = ['--mount', '--net', '--pid', '--ipc', '--uts', '--propagation', 'private']
  const unshare = ['unshare', ...namespaces, '--fork', '--kill-child', '--mount-proc']
  const init = ['bash', '-ec', script, 'bash', initScript(name, root, programs)]
  const started = execa('setpriv', ['--pdeathsig', 'KILL', ...unshare, ...init], { reject: false, all: true })
  const pid = await firstChild(started.pid)
  machine.running = {
    pid,
    end: async () => {
      process.kill(pid, 'SIGKILL')
      await started
    },
  }
  const booted = () => existsSync(`${root}/run/booted`) || started.exitCode !== null
  await waitUntil(`${name} has booted`, booted, BOOT_TIMEOUT_MS)
  if (started.exitCode !== null) throw new Error(`${name} has not booted: ${(await started).all}`)
  connect(machine)
}

/**
 * The test is the network between the nodes: a bridge, whose address is the way out of each node. A node keeps its MAC
 * when it boots again, as a machine does: otherwise others would send to the old one for some seconds.
 */
function connect(machine: Machine): void {
  const { number, address, address6 } = machine
  const pid = pidOf(machine)
  run(`ip link add node${number} type veth peer name up0 address 02:00:00:00:00:0${number} netns ${pid}
    ip link set node${number} master nodes up
    nsenter --net --target ${pid} sh -ec '
      ip address add ${address}/24 dev up0; ip address add ${address6}/64 dev up0 nodad; ip link set up0 up
      ip route add default via ${CONTROL_PLANE}; ip route add default via ${CONTROL_PLANE_6}'`)
}

async function firstChild(parent: number | undefined): Promise<number> {
  const path = `/proc/${parent}/task/${parent}/children`
  const child = () => existsSync(path) && readFileSync(path, 'utf8').trim()
  await waitUntil('the node has a first process', () => child() !== '', BOOT_TIMEOUT_MS)
  return Number(child())
}

async function cutPower(machine: Machine): Promise<void> {
  await machine.running?.end()
  machine.running = undefined
  // The kernel takes the other end with the node's network, but some time later.
  run(`ip link delete node${machine.number} || true`)
  await removeCgroups(machine.cgroup)
}

function pidOf({ name, running }: Machine): number {
  if (!running) throw new Error(`${name} has no power`)
  return running.pid
}

async function exec(machine: Machine, command: readonly string[]): Promise<string> {
  const namespaces = ['--mount', '--net', '--pid', '--ipc', '--uts', '--cgroup']
  const path = `${machine.programs}:${process.env['PATH']}`
  const enter = ['--target', `${pidOf(machine)}`, ...namespaces, '--', 'env', `PATH=${path}`]
  return (await execa('nsenter', [...enter, ...command], { timeout: SERVICE_TIMEOUT_MS })).stdout
}

function ctr(machine: Machine, ...command: string[]): Promise<string> {
  return exec(machine, ['ctr', '--namespace', 'k8s.io', ...command])
}

async function taskOf(machine: Machine, pod: KubePod, kind: string): Promise<string> {
  const labels = `labels."io.kubernetes.pod.uid"==${pod.metadata.uid},labels."io.cri-containerd.kind"==${kind}`
  const containers = (await ctr(machine, 'containers', 'list', '--quiet', labels)).split('\n')
  const tasks = (await ctr(machine, 'tasks', 'list')).split('\n').map((line) => line.split(/\s+/))
  const running = tasks.find(([id = '', , status]) => containers.includes(id) && status === 'RUNNING')
  if (!running?.[1]) throw new Error(`pod ${pod.metadata.name} has no running ${kind} on ${machine.name}`)
  return running[1]
}

async function restart(machine: Machine, service: Service, signal: string): Promise<void> {
  await end(machine, service, signal)
  await waitUntilHealthy(machine, service)
}

async function enable(machine: Machine, service: Service): Promise<void> {
  writeFileSync(enabledFile(machine, service), '')
  await waitUntilHealthy(machine, service)
}

/** Returns when the process is gone; another one may be there already. */
async function end(machine: Machine, service: Service, signal: string): Promise<void> {
  const pid = await exec(machine, ['cat', `/run/services/${service}.pid`])
  await exec(machine, ['kill', `-${signal}`, pid])
  const gone = () => succeeds(exec(machine, ['test', '!', '-e', `/proc/${pid}`]))
  await waitUntil(`${service} on ${machine.name} has ended`, gone, SERVICE_TIMEOUT_MS)
}

async function waitUntilHealthy(machine: Machine, service: Service): Promise<void> {
  const healthy = () => succeeds(exec(machine, HEALTH[service]))
  try {
    await waitUntil(`${service} on ${machine.name} works`, healthy, SERVICE_TIMEOUT_MS)
  } catch (error) {
    const log = readFileSync(`${machine.root}/var/log/${service}.log`, 'utf8').trimEnd()
    throw new Error(`${error}\n${log.split('\n').slice(-10).join('\n')}`)
  }
}

function succeeds(promise: Promise<unknown>): Promise<boolean> {
  return promise.then(
    () => true,
    () => false,
  )
}

function enabledFile({ root }: Machine, service: Service): string {
  return `${root}/run/services/${service}.enabled`
}

async function waitUntil(what: string, check: () => unknown, timeoutMs: number): Promise<void> {
  for (const deadline = Date.now() + timeoutMs; !(await check()); await sleep(20)) {
    if (Date.now() > deadline) throw new Error(`${what}: not after ${timeoutMs} ms`)
  }
}
