import { generateKeyPairSync } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { execa } from 'execa'
import { CACHE } from '../node/plugin.ts'
import { type Api, createApi } from './api.ts'

/* etcd, the API server, the controllers and the scheduler, in the network namespace of the test itself. */

/** The addresses of the test's end of the network that connects the nodes. */
export const CONTROL_PLANE = '10.89.0.1'
export const CONTROL_PLANE_6 = 'fd00:89::1'
/** The first address of the service range: what pods find as kubernetes.default, without any kube-proxy. */
export const API_SERVICE = '10.96.0.1'
const SERVICE_RANGES = ['10.96.0.0/16', 'fd00:96::/112'] as const
export const POD_RANGES = ['10.244.0.0/16', 'fd00:244::/56'] as const
const ETCD = 'http://127.0.0.1:2379'
const READY_TIMEOUT_MS = 120_000
const ADMIN_TOKEN = 'admin'
export const KUBE_PROXY = 'kube-proxy'
/** Of some forty controllers. Those that are left out would take a third of the memory and of the start. */
const CONTROLLERS = [
  'clusterrole-aggregation-controller',
  'daemonset-controller',
  'deployment-controller',
  'endpointslice-controller',
  'garbage-collector-controller',
  'namespace-controller',
  'node-ipam-controller',
  'node-lifecycle-controller',
  'pod-garbage-collector-controller',
  'replicaset-controller',
  'root-ca-certificate-publisher-controller',
  'serviceaccount-controller',
  'taint-eviction-controller',
]

export type ControlPlane = {
  readonly api: Api
  /** PEM: the authority of the API server's certificate. */
  readonly ca: string
  /** Returns a kubeconfig with the credentials of a node's kubelet, by the name of the node, or of kube-proxy. */
  kubeconfig(user: string): string
  stop(): Promise<void>
}

export type ControlPlaneOptions = {
  /** Without: etcd and the API server alone. */
  readonly withControllers?: boolean
  /** Nodes and pods have addresses of both families. */
  readonly isDualStack?: boolean
}

type Process = PromiseLike<unknown> & { kill(signal: 'SIGKILL'): boolean; readonly exitCode: number | null }

/** Starts the control plane with its files in `home`; ready when the promise is fulfilled. */
export async function startControlPlane(
  home: string,
  nodes: readonly string[],
  { withControllers = true, isDualStack = false }: ControlPlaneOptions = {},
): Promise<ControlPlane> {
  mkdirSync(home, { recursive: true })
  writeCredentials(home, nodes)
  const processes: Process[] = [
    start(home, join(CACHE, 'debian/usr/bin/etcd'), etcdFlags(home)),
    start(home, join(CACHE, 'bin/kube-apiserver'), apiServerFlags(home, isDualStack)),
  ]
  const stop = async () => {
    for (const process of processes) process.kill('SIGKILL')
    await Promise.all(processes)
  }
  try {
    // The API server makes a certificate authority and a certificate for itself.
    const ca = await certificateOf(home, processes)
    const api = createApi(`https://${CONTROL_PLANE}`, ca, ADMIN_TOKEN)
    await api.until('the API server is ready', () => api.request('GET', '/readyz'), READY_TIMEOUT_MS)
    writeFileSync(`${home}/admin.kubeconfig`, kubeconfig(ca, ADMIN_TOKEN))
    if (withControllers) {
      processes.push(
        start(home, join(CACHE, 'bin/kube-controller-manager'), controllerFlags(home, isDualStack)),
      )
      processes.push(start(home, join(CACHE, 'bin/kube-scheduler'), clientFlags(home)))
    }
    return { api, ca, kubeconfig: (user) => kubeconfig(ca, user), stop }
  } catch (error) {
    await stop()
    throw new Error(`the control plane has not started: ${error}\n${logsOf(home)}`)
  }
}

// Dies with the test, whichever way that ends.
function start(home: string, program: string, flags: readonly string[]): Process {
  const shell = ['sh', '-c', 'exec "$@" >>"$0" 2>&1', logFile(home, program), program, ...flags]
  return execa('setpriv', ['--pdeathsig', 'KILL', ...shell], { stdio: 'ignore', reject: false, cwd: home })
}

function logFile(home: string, program: string): string {
  return `${home}/${program.replace(/.*\//, '')}.log`
}

function logsOf(home: string): string {
  return ['etcd', 'kube-apiserver']
    .map((name) => logFile(home, name))
    .flatMap((path) => readFileSync(path, 'utf8').split('\n').slice(-5))
    .join('\n')
}

/** Tokens instead of certificates: each line is token, user, id, groups. Each but the first is the name of its owner. */
function writeCredentials(home: string, nodes: readonly string[]): void {
  const lines = [
    `${ADMIN_TOKEN},admin,admin,system:masters`,
    `${KUBE_PROXY},system:kube-proxy,kube-proxy`,
    ...nodes.map((name) => `${name},system:node:${name},${name},system:nodes`),
  ]
  writeFileSync(`${home}/tokens.csv`, `${lines.join('\n')}\n`)
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  writeFileSync(`${home}/accounts.key`, privateKey.export({ type: 'pkcs8', format: 'pem' }))
  writeFileSync(`${home}/accounts.pub`, publicKey.export({ type: 'spki', format: 'pem' }))
}

function kubeconfig(ca: string, token: string): string {
  const cluster = {
    server: `https://${CONTROL_PLANE}`,
    'certificate-authority-data': Buffer.from(ca).toString('base64'),
  }
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'test', cluster }],
    users: [{ name: 'test', user: { token } }],
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
    'current-context': 'test',
  })
}

async function certificateOf(home: string, processes: readonly Process[]): Promise<string> {
  const [path, key] = [`${home}/certificates/apiserver.crt`, `${home}/certificates/apiserver.key`]
  for (const deadline = Date.now() + READY_TIMEOUT_MS; Date.now() < deadline; await sleep(50)) {
    // The key is written after the certificate.
    if (existsSync(key)) return readFileSync(path, 'utf8')
    if (processes.some(({ exitCode }) => exitCode !== null)) break
  }
  throw new Error('the API server has written no certificate')
}

function etcdFlags(home: string): string[] {
  const peers = 'http://127.0.0.1:2380'
  return [
    `--data-dir=${home}/etcd`,
    `--listen-client-urls=${ETCD}`,
    `--advertise-client-urls=${ETCD}`,
    `--listen-peer-urls=${peers}`,
    `--initial-advertise-peer-urls=${peers}`,
    `--initial-cluster=default=${peers}`,
  ]
}

function apiServerFlags(home: string, isDualStack: boolean): string[] {
  return [
    `--etcd-servers=${ETCD}`,
    `--advertise-address=${CONTROL_PLANE}`,
    '--bind-address=0.0.0.0',
    '--secure-port=443',
    `--cert-dir=${home}/certificates`,
    `--token-auth-file=${home}/tokens.csv`,
    '--service-account-issuer=https://kubernetes.default.svc',
    `--service-account-key-file=${home}/accounts.pub`,
    `--service-account-signing-key-file=${home}/accounts.key`,
    '--authorization-mode=Node,RBAC',
    '--enable-admission-plugins=NodeRestriction',
    `--service-cluster-ip-range=${rangesOf(SERVICE_RANGES, isDualStack)}`,
    '--kubelet-preferred-address-types=InternalIP',
    '--allow-privileged=true',
    '--profiling=false',
  ]
}

/** The scheduler needs no more than these. Port 0: nobody asks for its health and metrics. */
function clientFlags(home: string): string[] {
  return [`--kubeconfig=${home}/admin.kubeconfig`, '--leader-elect=false', '--secure-port=0']
}

// With the default rate of requests a node gets its range seconds late.
function controllerFlags(home: string, isDualStack: boolean): string[] {
  return [
    ...clientFlags(home),
    `--controllers=${CONTROLLERS.join(',')}`,
    `--service-account-private-key-file=${home}/accounts.key`,
    `--root-ca-file=${home}/certificates/apiserver.crt`,
    '--allocate-node-cidrs=true',
    `--cluster-cidr=${rangesOf(POD_RANGES, isDualStack)}`,
    ...(isDualStack
      ? ['--node-cidr-mask-size-ipv4=24', '--node-cidr-mask-size-ipv6=64']
      : ['--node-cidr-mask-size=24']),
    `--service-cluster-ip-range=${rangesOf(SERVICE_RANGES, isDualStack)}`,
    '--node-monitor-period=2s',
    '--node-monitor-grace-period=20s',
    `--flex-volume-plugin-dir=${home}/volume-plugins`,
    '--kube-api-qps=300',
    '--kube-api-burst=500',
  ]
}

function rangesOf([first, second]: readonly [string, string], isDualStack: boolean): string {
  return isDualStack ? `${first},${second}` : first
}
