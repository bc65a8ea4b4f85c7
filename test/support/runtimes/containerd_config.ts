import { join } from 'node:path'
import { execa } from 'execa'
import { CACHE } from '../node/plugin.ts'
import { IMAGE } from './image.ts'

/** Where a containerd with its shim and ctr is. */
export const CONTAINERDS = {
  /** Built by scripts/setup. */
  current: join(CACHE, 'bin'),
  /** The distribution's: 1.6 in Debian 12. */
  distribution: join(CACHE, 'debian/usr/bin'),
} as const

/** Where a containerd keeps its files and finds those of the network. */
export type ContainerdPaths = {
  readonly root: string
  readonly state: string
  readonly socket: string
  readonly cni: { readonly bin: string; readonly conf: string }
}

/** Returns the version that the containerd of the directory prints, such as 2.4.2. */
export async function containerdVersion(programs: string): Promise<string> {
  const { stdout } = await execa(join(programs, 'containerd'), ['--version'])
  const version = /\bv?(\d+\.\d+\.\d+)/.exec(stdout)?.[1]
  if (!version) throw new Error(`containerd --version printed ${stdout}`)
  return version
}

/** Returns the configuration of a containerd that runs pods of the tests' image without any privilege of the machine. */
export function containerdConfig(version: string, paths: ContainerdPaths): string {
  return version.startsWith('1.') ? configForVersion1(paths) : configForVersion2(paths)
}

// restrict_oom_score_adj: a container's CI machine may lack CAP_SYS_RESOURCE, and every sandbox would fail.
function places({ root, state, socket }: ContainerdPaths): string {
  return `
root = "${root}"
state = "${state}"
oom_score = 0
[grpc]
  address = "${socket}"
`
}

function configForVersion1(paths: ContainerdPaths): string {
  return `version = 2
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs"]
${places(paths)}
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${IMAGE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "${CACHE}/debian/usr/sbin/runc"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "${paths.cni.bin}"
    conf_dir = "${paths.cni.conf}"
`
}

function configForVersion2(paths: ContainerdPaths): string {
  return `version = 3
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.erofs", "io.containerd.nri.v1.nri", "io.containerd.internal.v1.tracing"]
${places(paths)}
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "${IMAGE}"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      BinaryName = "${CACHE}/debian/usr/sbin/runc"
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["${paths.cni.bin}"]
    conf_dir = "${paths.cni.conf}"
`
}
