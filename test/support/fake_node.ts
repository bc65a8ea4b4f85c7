import type { PluginRunner } from '../../src/cni/delegate.ts'
import { Fault } from '../../src/core/errors.ts'
import { createFakeFiles, type FakeFiles, Killed as FilesKilled } from '../../src/core/fake_files.ts'
import { Killed as KernelKilled } from '../../src/kernel/fake/steps.ts'
import { createFakeKernel, type FakeKernel, type FakeKernelOptions } from '../../src/kernel/fake.ts'
import { type PluginAnswer, runPlugin } from '../../src/verbs/plugin.ts'
import { DEFAULT_PATHS } from '../../src/verbs/ports.ts'
import { RARE } from '../../src/verbs/rare.ts'

export type FakeCall = {
  readonly containerId?: string
  readonly ifName?: string
  readonly netns?: string
  /** CNI_ARGS. */
  readonly args?: string
  readonly config?: object
  readonly calledAs?: string
}

/** Programs that can be delegated to: what each prints. One that throws a Fault fails as a plugin does. */
export type FakePlugins = Record<string, (env: Readonly<Record<string, string>>, stdin: string) => object>

/** A node in memory: the real verbs on the fake kernel and the fake disk. */
export type FakeNode = {
  readonly kernel: FakeKernel
  readonly files: FakeFiles
  call(command: string, call?: FakeCall): PluginAnswer & { readonly json: Record<string, unknown> }
  /** The number of steps so far, of kernel and disk together. */
  steps(): number
  /** At step `n` from now the process is killed, or the step is refused with an errno. */
  stopAt(n: number, how: 'SIGKILL' | string): void
  /** Called with the words of each step of kernel and disk, before it is done; may throw a Fault. */
  beforeStep(hook: (what: string) => void): void
  /** Every step whose words match is refused, from now on. */
  refuse(pattern: RegExp, errno: string): void
  /** Before step `n` from now another process does `work`, whose own steps do not count. */
  interruptAt(n: number, work: () => void): void
  /** The next process after a kill. */
  revive(): void
  /** All that a failed ADD must leave as it was: the whole kernel, leases and records. */
  snapshot(): unknown
  /** Everything of a pod that is left, in words; empty when nothing is. */
  residue(): string[]
}

export const NETNS = '/var/run/netns/pod1'

export const L3 = {
  cniVersion: '1.1.0',
  name: 'net',
  type: 'bowline',
  mode: 'l3',
  ipMasq: true,
  ipam: {
    type: 'bowline-ipam',
    ranges: [[{ subnet: '10.1.0.0/24' }], [{ subnet: 'fd00:1::/64' }]],
    routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
  },
}

export const L2 = { ...L3, mode: 'l2', bridge: 'br0', isGateway: true }

/** As many steps as mode l2 can have. */
export const L2_FULL = {
  ...L2,
  macspoofchk: true,
  promiscMode: true,
  forceAddress: true,
  enabledad: true,
  portIsolation: true,
  vlan: 100,
  vlanTrunk: [{ id: 200 }, { minID: 300, maxID: 310 }],
}

/** `plugins` are in CNI_PATH besides ours. */
export function createFakeNode(options: FakeKernelOptions & { plugins?: FakePlugins } = {}): FakeNode {
  const kernel = createFakeKernel(options)
  const files = createFakeFiles()
  kernel.makeNetns(NETNS)
  let count = 0
  let dead = false
  let stop: { readonly at: number; readonly how: string } | undefined
  let watcher: (what: string) => void = () => {}
  let refused: { readonly pattern: RegExp; readonly errno: string } | undefined
  let interruption: { readonly at: number; readonly work: () => void } | undefined
  const onStep = (killed: () => Error, phase: string, what: string): void => {
    if (phase === 'before') {
      count++
      watcher(what)
      if (count === interruption?.at) interrupt(interruption.work)
      if (refused?.pattern.test(what)) throw new Fault(`the test: ${refused.errno}`, { errno: refused.errno })
    }
    if (count === stop?.at && phase === 'before') {
      if (stop.how !== 'SIGKILL') throw new Fault(`the test: ${stop.how}`, { errno: stop.how })
      dead = true
    }
    if (dead) throw killed()
  }
  const interrupt = (work: () => void): void => {
    const before = count
    interruption = undefined
    work()
    count = before
  }
  kernel.onStep(({ phase, what }) => onStep(() => new KernelKilled('the test'), phase, what))
  files.onOperation = ({ phase, name, path }) => onStep(() => new FilesKilled(), phase, `${name} ${path}`)
  const plugins = runnerOf(options.plugins ?? {})
  return {
    kernel,
    files,
    call(
      command,
      {
        containerId = 'c1',
        ifName = 'eth0',
        netns = NETNS,
        args = '',
        config = L3,
        calledAs = 'bowline',
      } = {},
    ) {
      const env = {
        CNI_COMMAND: command,
        CNI_CONTAINERID: containerId,
        CNI_NETNS: netns,
        CNI_IFNAME: ifName,
        CNI_ARGS: args,
        CNI_PATH,
      }
      const ports = { kernel, files, plugins, paths: DEFAULT_PATHS }
      const answer = runPlugin({ env, calledAs, readStdin: () => JSON.stringify(config), ports, rare: RARE })
      return { ...answer, json: answer.stdout ? JSON.parse(answer.stdout) : {} }
    },
    steps: () => count,
    stopAt(n, how) {
      stop = { at: count + n, how }
    },
    beforeStep(hook) {
      watcher = hook
    },
    refuse(pattern, errno) {
      refused = { pattern, errno }
    },
    interruptAt(n, work) {
      interruption = { at: count + n, work }
    },
    revive() {
      stop = undefined
      dead = false
      kernel.revive()
      files.revive()
    },
    snapshot: () => snapshotOf(kernel, files),
    residue: () => residueOf(kernel, files),
  }
}

const CNI_PATH = '/opt/cni/bin'

function runnerOf(plugins: FakePlugins): PluginRunner {
  const at = (path: string) => plugins[path.replace(`${CNI_PATH}/`, '')]
  return {
    isExecutable: (path) => at(path) !== undefined,
    run(path, env, stdin) {
      try {
        return { exitCode: 0, stdout: JSON.stringify(at(path)?.(env, stdin)) }
      } catch (error) {
        if (!(error instanceof Fault)) throw error
        return { exitCode: 1, stdout: JSON.stringify({ code: error.code, msg: error.message }) }
      }
    },
  }
}

/** But for the loopback of a pod, which is not ours to take down: other plugins bring it up too, at the same time. */
function snapshotOf(kernel: FakeKernel, files: FakeFiles): unknown {
  const { host, nft, namespaces } = kernel.dump()
  const pods = Object.entries(namespaces).map(([path, { links, routes, sysctls }]) => [
    path,
    { links: links.filter(({ name }) => name !== 'lo'), routes, sysctls },
  ])
  return { host, nft, pods, files: Object.entries(files.dump()).filter(([path]) => isOurs(path)) }
}

function residueOf(kernel: FakeKernel, files: FakeFiles): string[] {
  const { host, nft } = kernel.dump()
  const links = host.links.map(({ name }) => `link ${name}`).filter((text) => !STAYING.includes(text))
  const tables = JSON.stringify(nft).includes('bowline') ? ['nftables table bowline'] : []
  const left = Object.keys(files.dump()).filter(isOurs)
  return [...links, ...tables, ...left]
}

/** A bridge and the gateway of a VLAN on it are the node's. */
const STAYING = ['link lo', 'link br0', 'link br0.100']

/** A lease, a record, or a temporary file; lock files, the cursor and the free list stay by design. */
function isOurs(path: string): boolean {
  if (path.endsWith('/') || path.includes('/.locks/') || path.endsWith('/lock')) return false
  return !path.includes('/.bowline/') && !path.includes('last_reserved_ip')
}
