import { Code, Fault } from '../../src/core/errors.ts'
import type { Mac } from '../../src/core/mac.ts'
import type { FirewallChain } from '../../src/kernel/firewall/chain.ts'
import type { Kernel, Netns } from '../../src/kernel/kernel.ts'
import { makeLinkLocals } from './kernel/addresses.ts'
import { dumpNamespace, type NamespaceDump } from './kernel/dump.ts'
import { destroyLink, LOOPBACK_MTU, register } from './kernel/links.ts'
import { FakeNetns } from './kernel/netns.ts'
import type { Clock, Namespace } from './kernel/state.ts'
import { type StepHook, Steps } from './kernel/steps.ts'
import { freshConf } from './kernel/sysctls.ts'
import { FakeNft, type NftDump } from './nft.ts'
import { FakeTraffic } from './traffic.ts'

export type FakeKernelOptions = {
  /** How long IPv6 looks for duplicates of an address, in milliseconds of the fake's own time. Default 0. */
  readonly duplicateDetectionMs?: number
  /** To be shared with other fakes that die with this one. */
  readonly steps?: Steps
}

export type KernelDump = {
  readonly host: NamespaceDump
  /** By path, or by inode for a namespace that only an open handle keeps alive. */
  readonly namespaces: Record<string, NamespaceDump>
  readonly nft: NftDump
}

/** No inode is below this one in real life either: small numbers would hide a mix-up with link indexes. */
const FIRST_INODE = 4_026_531_840
const NO_MAC = '00:00:00:00:00:00' as Mac

/**
 * The kernel port in memory, with the kernel's errnos. Same behaviour as Linux as far as Bowline can see it: the one
 * contract suite (test/contract/kernel.ts) runs on both. Beyond the port it has what tests need.
 */
export function createFakeKernel(options: FakeKernelOptions = {}): FakeKernel {
  return new FakeKernel(options)
}

export class FakeKernel implements Kernel {
  readonly steps: Steps
  readonly nftables: FakeNft
  readonly traffic: FakeTraffic
  /** Handles of the running process, without that of the host. */
  readonly #handles = new Set<FakeNetns>()
  readonly #namespaces = new Set<Namespace>()
  readonly #files = new Set<string>()
  readonly #clock: Clock
  #nextInode = FIRST_INODE
  #bootId = 'boot-1'
  #hostNamespace: Namespace
  #host: FakeNetns

  constructor({ duplicateDetectionMs = 0, steps = new Steps() }: FakeKernelOptions) {
    this.#clock = { nowMs: 0, duplicateDetectionMs }
    this.steps = steps
    this.nftables = new FakeNft(steps)
    this.traffic = new FakeTraffic(steps)
    this.#hostNamespace = this.#createNamespace(undefined)
    this.#host = this.#handleOf(this.#hostNamespace, () => {})
  }

  host(): Netns {
    return this.#host
  }

  openNetns(path: string): Netns {
    return this.steps.run(`open network namespace ${path}`, () => {
      const namespace = [...this.#namespaces].find((one) => one.path === path)
      if (!namespace) throw this.#cannotOpen(path)
      namespace.handles++
      const handle = this.#handleOf(namespace, () => {
        this.#handles.delete(handle)
        namespace.handles--
        this.#reap(namespace)
      })
      this.#handles.add(handle)
      return handle
    })
  }

  pause(ms: number): void {
    this.steps.run(`wait ${ms} ms`, () => {
      this.#clock.nowMs += ms
      for (const namespace of this.#namespaces) makeLinkLocals(namespace)
    })
  }

  firewall(): FirewallChain[] {
    return this.steps.run('list the packet filters', () => [])
  }

  bootId(): string {
    return this.steps.run('read the boot id', () => this.#bootId)
  }

  /** Makes a namespace with a name, as `ip netns add` does. */
  makeNetns(path: string): void {
    this.#createNamespace(path)
  }

  /** Gives the host's own namespace a path, as /proc/1/ns/net is one. */
  nameHost(path: string): void {
    this.#hostNamespace.path = path
  }

  /** Takes the name away. The namespace goes with its last name and its last open handle. */
  removeNetns(path: string): void {
    const namespace = [...this.#namespaces].find((one) => one.path === path)
    if (!namespace) throw new Fault(`the fake has no namespace ${path}`, { errno: 'ENOENT' })
    namespace.path = undefined
    this.#reap(namespace)
  }

  /** Puts something at a path that is no network namespace: a plain file, or a namespace of another kind. */
  placeFile(path: string): void {
    this.#files.add(path)
  }

  /** Called around each step; may throw a Fault or `Killed`. Undefined: nobody is called. */
  onStep(hook: StepHook | undefined): void {
    this.steps.hook = hook
  }

  /** The next process after one that was killed: what the dead one held open is closed. */
  revive(): void {
    for (const handle of [...this.#handles]) handle.close()
    this.steps.revive()
  }

  /** Power off, power on: all namespaces, links, rules and sysctls are gone, and the boot id is another. */
  rebootTo(bootId: string): void {
    this.revive()
    this.#host.close()
    this.#namespaces.clear()
    this.nftables.clear()
    this.#files.clear()
    this.#bootId = bootId
    this.#hostNamespace = this.#createNamespace(undefined)
    this.#host = this.#handleOf(this.#hostNamespace, () => {})
  }

  /** Everything, sorted: two equal dumps mean that the machine is as it was found. */
  dump(): KernelDump {
    const pods = [...this.#namespaces].filter((one) => one !== this.#hostNamespace)
    const named = pods.map((one) => [one.path ?? `inode ${one.inode}`, dumpNamespace(one)] as const)
    return {
      host: dumpNamespace(this.#hostNamespace),
      namespaces: Object.fromEntries(named.sort(([a], [b]) => (a < b ? -1 : 1))),
      nft: this.nftables.dump(),
    }
  }

  #handleOf(namespace: Namespace, onClose: () => void): FakeNetns {
    return new FakeNetns(namespace, { steps: this.steps, onClose })
  }

  #createNamespace(path: string | undefined): Namespace {
    const namespace: Namespace = {
      clock: this.#clock,
      inode: this.#nextInode++,
      links: new Map(),
      nextIndex: 1,
      routes: [],
      conf: { all: freshConf(), default: freshConf() },
      path,
      handles: 0,
    }
    this.#namespaces.add(namespace)
    register(namespace, { name: 'lo', mac: NO_MAC, mtu: LOOPBACK_MTU, kind: '' })
    return namespace
  }

  /** A namespace without name and handle goes, with all its links and their other ends. */
  #reap(namespace: Namespace): void {
    if (namespace.path !== undefined || namespace.handles > 0) return
    for (const link of [...namespace.links.values()]) destroyLink(link)
    this.#namespaces.delete(namespace)
  }

  #cannotOpen(path: string): Fault {
    if (!this.#files.has(path)) {
      return new Fault(`there is no network namespace ${path}`, { code: Code.invalidNetns, errno: 'ENOENT' })
    }
    return new Fault(`${path} is not a network namespace`, { code: Code.invalidNetns, errno: 'EINVAL' })
  }
}
