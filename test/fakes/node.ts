import { Fault } from '../../src/core/errors.ts'
import { runPlugin } from '../../src/plugin/dispatch.ts'
import { openPorts } from '../../src/plugin/ports.ts'
import {
  createFakeDelegate,
  DELEGATE,
  DELEGATE_PATH,
  type FakeDelegate,
  type FakePlugins,
} from './delegate.ts'
import { createFakeFiles, type FakeFiles, type FakeFilesOptions, Killed } from './files.ts'
import { Steps } from './kernel/steps.ts'
import { createFakeKernel, type FakeKernel, type FakeKernelOptions } from './kernel.ts'
import { type NodeSnapshot, residueOf, snapshotOf } from './residue.ts'

export type { FakePlugins }

export type FakeCall = {
  readonly containerId?: string
  readonly ifName?: string
  readonly netns?: string
  readonly config?: object
  /** What comes on standard input instead of the configuration. */
  readonly stdin?: string
  readonly calledAs?: string
  /** CNI_ARGS. */
  readonly args?: string
}

export type FakeAnswer = {
  readonly exitCode: number
  readonly stdout: string
  readonly json: Record<string, unknown>
}

/** Where in a step something happens; only whole files that are written have a middle. */
export type Phase = 'before' | 'midway' | 'after'

/** The end of the process, or an errno that the step fails with: before its effect, or (`after`) though it has had it. */
export type Stop = 'SIGKILL' | (string & {})

/** A node in memory: the real verbs on the fake kernel, the fake disk and another IPAM plugin. */
export type FakeNode = {
  readonly kernel: FakeKernel
  readonly files: FakeFiles
  readonly delegate: FakeDelegate
  call(command: string, call?: FakeCall): FakeAnswer
  /** The number of steps so far: of kernel, disk and other plugins together. */
  steps(): number
  /** Before step `n` from now another process does `work`, whose own steps do not count. */
  interruptAt(n: number, work: () => void): void
  /** Called with the words of each step, before it is done; may throw a Fault. */
  beforeStep(hook: (what: string) => void): void
  /** Refuses every step whose words match, from now on. */
  refuse(pattern: RegExp, errno: string): void
  /** Ends or refuses step `n` from now. */
  stopAt(n: number, how: Stop, phase?: Phase): void
  /** Whether what was planned by `at` or `stopAt` has not happened yet. */
  isDue(): boolean
  /** All steps that were begun, in words: what of the kernel and the disk was touched. */
  history(): readonly string[]
  /** The numbers of the steps that this fault in this phase would have met, had it been planned. */
  metBy(how: Stop, phase: Phase): readonly number[]
  /** The step for which something was planned last, in words; empty if it has not come. */
  where(): string
  /** The next process, after a kill or not. */
  revive(): void
  /** Power off, power on. The pods that the runtime makes anew have their namespaces at the same paths. */
  reboot(): void
  /** Everything of a pod that is left, in words; empty when nothing is. */
  residue(): string[]
  /** All that a failed ADD must leave as it was: the whole kernel, leases and records. */
  snapshot(): NodeSnapshot
}

export const NETNS = '/var/run/netns/pod1'
/** Where a second container is. */
export const NETNS_2 = '/var/run/netns/pod2'

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
  ingressRate: 8e6,
  ingressBurst: 1e6,
  egressRate: 8e6,
  egressBurst: 1e6,
  unshapedSubnets: ['10.0.0.0/8', 'fd00::/8'],
  nonMasqueradeCIDRs: ['192.0.2.0/24', 'fd00::/8'],
  ipMasqFullyRandom: false,
  args: { cni: { masquerade: false } },
  vlan: 100,
  vlanTrunk: [{ id: 200 }, { minID: 300, maxID: 310 }],
}

/** The same network with addresses of another IPAM plugin, see `createFakeDelegate`. */
export function delegated<T extends object>(config: T): T {
  return { ...config, ipam: { type: DELEGATE } }
}

export type FakeNodeOptions = Omit<FakeKernelOptions, 'steps'> &
  FakeFilesOptions & {
    /** In CNI_PATH, besides the one that is always there, see `createFakeDelegate`. */
    readonly plugins?: FakePlugins
  }

export function createFakeNode(options: FakeNodeOptions = {}): FakeNode {
  const steps = new Steps()
  const kernel = createFakeKernel({ ...options, steps })
  const files = createFakeFiles(options)
  const delegate = createFakeDelegate(steps, options.plugins ?? {})
  const ports = openPorts({ kernel, files, plugins: delegate.runner })
  const schedule = createSchedule()
  let boots = 1
  kernel.onStep(({ phase, what }) => schedule.onStep({ phase, what, isFile: false }))
  files.onOperation = ({ phase, name, path }) =>
    schedule.onStep({ phase, what: `${name} ${path}`, isFile: true })
  makePods(kernel)
  return {
    ...schedule,
    kernel,
    files,
    delegate,
    call(command, call = {}) {
      let stdout = ''
      const writeStdout = (text: string) => {
        stdout = text
      }
      const exitCode = runPlugin({ ...processOf(command, call), writeStdout, ports })
      return { exitCode, stdout, json: stdout ? JSON.parse(stdout) : {} }
    },
    revive() {
      schedule.clear()
      kernel.revive()
      files.revive()
    },
    reboot() {
      this.revive()
      kernel.rebootTo(`boot-${++boots}`)
      makePods(kernel)
    },
    residue: () => residueOf(kernel, files, delegate),
    snapshot: () => snapshotOf(kernel, files, delegate),
  }
}

function makePods(kernel: FakeKernel): void {
  for (const path of [NETNS, NETNS_2]) kernel.makeNetns(path)
}

function processOf(
  command: string,
  {
    containerId = 'c1',
    ifName = 'eth0',
    netns = NETNS,
    config = L3,
    calledAs = 'bowline',
    args = '',
    stdin,
  }: FakeCall,
) {
  const env = {
    CNI_COMMAND: command,
    CNI_CONTAINERID: containerId,
    CNI_NETNS: netns,
    CNI_IFNAME: ifName,
    CNI_ARGS: args,
    CNI_PATH: DELEGATE_PATH,
  }
  return { env, calledAs, readStdin: () => stdin ?? JSON.stringify(config) }
}

type Plan = {
  readonly at: number
  readonly phase: Phase
  readonly work: () => void
  /** Not at a step of the disk: a system call that says it failed has done nothing, but netlink may lose an answer. */
  readonly answerOnly: boolean
}

/** Counts the steps of all fakes of a node and does what is planned for them. */
function createSchedule() {
  const history: string[] = []
  const phases: { readonly step: number; readonly phase: Phase; readonly isFile: boolean }[] = []
  let count = 0
  let dead = false
  let where = ''
  let plans: Plan[] = []
  let watcher: (what: string) => void = () => {}
  let refused: { readonly pattern: RegExp; readonly errno: string } | undefined
  const plan = (n: number, phase: Phase, work: () => void, answerOnly: boolean): void => {
    plans.push({ at: count + n, phase, work, answerOnly })
    where = ''
  }
  const carryOut = (due: Plan, { phase, what }: StepWords): void => {
    plans = plans.filter((one) => one !== due)
    where = `${phase} ${what}`
    const before = count
    due.work()
    count = before
  }
  return {
    interruptAt: (n: number, work: () => void) => plan(n, 'before', work, false),
    steps: () => count,
    isDue: () => plans.length > 0,
    where: () => where,
    history: () => history,
    metBy: (how: Stop, phase: Phase) =>
      phases
        .filter((one) => one.phase === phase && !(one.isFile && isAnswerOnly(how, phase)))
        .map(({ step }) => step),
    stopAt(n: number, how: Stop, phase: Phase = 'before'): void {
      const stop = () => {
        if (how !== 'SIGKILL') throw new Fault(`the test: ${how}`, { errno: how })
        dead = true
      }
      plan(n, phase, stop, isAnswerOnly(how, phase))
    },
    beforeStep(hook: (what: string) => void): void {
      watcher = hook
    },
    refuse(pattern: RegExp, errno: string): void {
      refused = { pattern, errno }
    },
    onStep(step: StepWords): void {
      if (step.phase === 'before') {
        count++
        history.push(step.what)
        watcher(step.what)
        if (refused?.pattern.test(step.what)) throw new Fault('the test', { errno: refused.errno })
      }
      phases.push({ step: count, phase: step.phase, isFile: step.isFile })
      const due = plans.find(
        ({ at, phase, answerOnly }) => at === count && phase === step.phase && !(step.isFile && answerOnly),
      )
      if (due) carryOut(due, step)
      // Each fake is told by itself: from then on it refuses everything.
      if (dead) throw new Killed()
    },
    clear(): void {
      plans = []
      dead = false
    },
  }
}

function isAnswerOnly(how: Stop, phase: Phase): boolean {
  return how !== 'SIGKILL' && phase === 'after'
}

type StepWords = { readonly phase: Phase; readonly what: string; readonly isFile: boolean }
