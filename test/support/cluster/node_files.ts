import { randomUUID } from 'node:crypto'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { CACHE, linkReferencePlugins } from '../node/plugin.ts'
import { run } from '../node/private_namespaces.ts'
import { CGROUP_V2 } from '../runtimes/cgroups.ts'
import { containerdConfig } from '../runtimes/containerd_config.ts'
import { POD_RANGES } from './control_plane.ts'

/* What is on the disk of a node, and the script that boots it. */

/** The node's directories that are its own; all else of its file system is the machine's. */
const OWN_DIRECTORIES = ['etc', 'opt', 'var/lib', 'var/log', 'run']

/**
 * The kubelet writes these settings, which are the machine's: files with the values that it wants stand in for them.
 * The boot id is another one in each boot, as on a machine.
 */
const SETTINGS: Readonly<Record<string, () => string>> = {
  'vm/overcommit_memory': () => '1',
  'vm/panic_on_oom': () => '0',
  'kernel/panic': () => '10',
  'kernel/panic_on_oops': () => '1',
  'kernel/keys/root_maxkeys': () => '1000000',
  'kernel/keys/root_maxbytes': () => '25000000',
  'kernel/random/boot_id': randomUUID,
}

/** The addresses that the kubelet reports of its node, as its flag --node-ip. */
const NODE_IP_FILE = '/etc/kubernetes/node-ip'

/** Writes a fresh disk: the tools and plugins that any node has, and no network. */
export function writeDisk(root: string, nodeIps: readonly string[], containerdVersion: string): void {
  for (const directory of OWN_DIRECTORIES) mkdirSync(join(root, directory), { recursive: true })
  run(`cp -a /etc ${root}`)
  for (const name of ['cni', 'containerd', 'kubernetes']) {
    rmSync(`${root}/etc/${name}`, { recursive: true, force: true })
    mkdirSync(`${root}/etc/${name}`)
  }
  mkdirSync(`${root}/etc/cni/net.d`)
  linkReferencePlugins(`${root}/opt/cni/bin`)
  const paths = {
    root: '/var/lib/containerd',
    state: '/run/containerd',
    socket: '/run/containerd/containerd.sock',
    cni: { bin: '/opt/cni/bin', conf: '/etc/cni/net.d' },
  }
  writeFileSync(`${root}/etc/containerd/config.toml`, containerdConfig(containerdVersion, paths))
  writeFileSync(`${root}/etc/kubernetes/kubelet.json`, JSON.stringify(KUBELET))
  writeFileSync(`${root}/etc/kubernetes/kube-proxy.json`, JSON.stringify(KUBE_PROXY))
  writeNodeIps(root, nodeIps)
}

/** Takes effect when the kubelet starts. */
export function writeNodeIps(root: string, nodeIps: readonly string[]): void {
  writeFileSync(`${root}${NODE_IP_FILE}`, nodeIps.join())
}

/** Empties what a machine loses when its power is cut, and gives it the settings of the next boot. */
export function prepareBoot(root: string): void {
  rmSync(`${root}/run`, { recursive: true, force: true })
  mkdirSync(`${root}/run/services`, { recursive: true })
  mkdirSync(`${root}/settings`, { recursive: true })
  for (const [path, value] of Object.entries(SETTINGS)) {
    writeFileSync(settingFile(root, path), `${value()}\n`)
  }
}

/** Returns a script that enters the control groups, and then runs its first argument without the test's environment. */
export function joinScript(cgroups: readonly string[]): string {
  const join = cgroups.map((path) => `echo 0 >${path}/cgroup.procs`)
  return [...join, 'exec unshare --cgroup env -i PATH="$PATH" bash -ec "$1"'].join('\n')
}

/**
 * Returns the script of the node's first process, which ends with the services: each runs while there is a file
 * /run/services/NAME.enabled, and is started again when it has ended.
 */
export function initScript(name: string, root: string, containerd: string): string {
  const mountAll = OWN_DIRECTORIES.map((directory) => `mount --bind ${root}/${directory} /${directory}`)
  const settings = Object.keys(SETTINGS).map(
    (path) => `mount --bind ${settingFile(root, path)} /proc/sys/${path}`,
  )
  const [bin, etc] = [join(CACHE, 'bin'), '/etc/kubernetes']
  const kubelet = `${bin}/kubelet --config=${etc}/kubelet.json --kubeconfig=${etc}/kubeconfig --hostname-override=${name}`
  return `
hostname ${name}
mount -t sysfs sysfs /sys
${CGROUP_V2 ? MOUNT_CGROUP_V2 : MOUNT_CGROUP_V1}
${[...settings, ...mountAll].join('\n')}
# Containers are told of later mounts, such as those of pods' network namespaces.
mount --make-rshared /
ip link set lo up
${SUPERVISE}
supervise containerd env PATH=${containerd}:$PATH containerd &
supervise kubelet sh -c 'exec ${kubelet} --node-ip=$(cat ${NODE_IP_FILE})' &
supervise kube-proxy ${bin}/kube-proxy --config=${etc}/kube-proxy.json --hostname-override=${name} &
touch /run/booted
wait`
}

// As the first process, bash also reaps what shims leave behind.
const SUPERVISE = `supervise() {
  local name=$1
  shift
  while :; do
    if [ -e /run/services/$name.enabled ]; then
      "$@" >>/var/log/$name.log 2>&1 &
      echo $! >/run/services/$name.pid
      wait $! || true
      rm /run/services/$name.pid
    fi
    sleep 0.1
  done
}`

const MOUNT_CGROUP_V1 = `
hierarchies=$(sed -n 's/^[0-9]*:\\(name=\\)\\?\\([^:]\\+\\):.*/\\2/p' /proc/self/cgroup)
mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
for name in $hierarchies; do
  mkdir /sys/fs/cgroup/$name
  mount -t cgroup -o \${name/#systemd/none,name=systemd} cgroup /sys/fs/cgroup/$name
done`

// A group with controllers for its children has no processes of its own.
const MOUNT_CGROUP_V2 = `
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir /sys/fs/cgroup/init
echo 0 >/sys/fs/cgroup/init/cgroup.procs
sed 's/[^ ]\\+/+&/g' /sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control`

function settingFile(root: string, path: string): string {
  return `${root}/settings/${path.replaceAll('/', '.')}`
}

/* Everybody may ask this kubelet (for logs): its network is the test's alone, and so it needs no certificates. */
const KUBELET = {
  apiVersion: 'kubelet.config.k8s.io/v1beta1',
  kind: 'KubeletConfiguration',
  address: '::',
  authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
  authorization: { mode: 'AlwaysAllow' },
  containerRuntimeEndpoint: 'unix:///run/containerd/containerd.sock',
  cgroupDriver: 'cgroupfs',
  failCgroupV1: false,
  enforceNodeAllocatable: [],
  failSwapOn: false,
  // A container's CI machine may lack CAP_SYS_RESOURCE.
  oomScoreAdj: 0,
  makeIPTablesUtilChains: false,
  resolvConf: '',
  nodeStatusUpdateFrequency: '2s',
  nodeStatusReportFrequency: '10s',
  // Also how late a pod gets a changed ConfigMap.
  syncFrequency: '2s',
  imageGCHighThresholdPercent: 100,
  evictionHard: { 'memory.available': '50Mi', 'nodefs.available': '1%', 'imagefs.available': '1%' },
  volumePluginDir: '/var/lib/kubelet/volume-plugins',
}

/* The limits of connection tracking are the machine's, and stay as they are. */
const KUBE_PROXY = {
  apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
  kind: 'KubeProxyConfiguration',
  mode: 'nftables',
  clientConnection: { kubeconfig: '/etc/kubernetes/kube-proxy.kubeconfig' },
  clusterCIDR: POD_RANGES.join(),
  conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: '0s', tcpCloseWaitTimeout: '0s' },
  metricsBindAddress: '127.0.0.1:10249',
  healthzBindAddress: '127.0.0.1:10256',
}
