import { mkdirSync } from 'node:fs'
import { beforeAll, describe, expect, it } from 'vitest'
import { type PluginCall, type PluginOutput, pluginConfigOf, readConflist } from '../support/plugin.ts'
import { createNetns, createOutside, enterSandbox } from '../support/sandbox.ts'
import { beyond, countSystemCalls, type SystemCalls, tracePlugin } from '../support/system_calls.ts'

/*
 * What a call may ask of the kernel, beyond what VERSION does: that is the runtime's own start. The numbers are the
 * same on every machine, so a slip is seen before anybody has to measure. One more is a decision: raise the number
 * here with the change that needs it, and lower it when a call has become cheaper.
 *
 * `sendto` is a round trip to netlink or nftables, `clone3` a thread, and each `openat` a file or namespace.
 */
const BUDGETS: Readonly<Record<string, SystemCalls>> = {
  'ADD l3': {
    sendto: 9,
    recvfrom: 10,
    socket: 3,
    setsockopt: 6,
    setns: 2,
    ioctl: 2,
    openat: 17,
    close: 15,
    pread64: 6,
    pwrite64: 6,
    read: 3,
    statx: 13,
    newfstatat: 1,
    geteuid: 1,
    flock: 2,
    linkat: 2,
    clone3: 2,
  },
  // One of the round trips asks whose the link of that name is.
  'DEL l3': {
    sendto: 4,
    recvfrom: 4,
    socket: 2,
    setsockopt: 4,
    ioctl: 1,
    openat: 12,
    close: 11,
    pread64: 11,
    pwrite64: 1,
    read: 3,
    statx: 13,
    newfstatat: 1,
    geteuid: 1,
    flock: 2,
    unlink: 2,
    rmdir: 1,
    getdents64: 2,
    clone3: 2,
  },
  // Two of the round trips ask for the MTU of the way out: the routes of each family with the rules, and the link.
  'ADD l2': {
    sendto: 13,
    recvfrom: 16,
    socket: 3,
    setsockopt: 7,
    setns: 6,
    ioctl: 2,
    openat: 24,
    close: 21,
    pread64: 10,
    pwrite64: 8,
    read: 3,
    statx: 18,
    newfstatat: 1,
    geteuid: 1,
    flock: 3,
    linkat: 3,
    clone3: 2,
  },
  'DEL l2': {
    sendto: 6,
    recvfrom: 6,
    socket: 2,
    setsockopt: 4,
    ioctl: 1,
    openat: 15,
    close: 14,
    pread64: 17,
    pwrite64: 1,
    read: 3,
    statx: 16,
    newfstatat: 1,
    geteuid: 1,
    flock: 2,
    unlink: 3,
    rmdir: 1,
    getdents64: 2,
    clone3: 2,
  },
}

/** Memory and the coordination of threads: the runtime's own affair, and not the same each time. */
const UNCOUNTED = [
  'brk',
  'futex',
  'getpid',
  'getrandom',
  'gettid',
  'madvise',
  'mmap',
  'mprotect',
  'munmap',
  'prctl',
]
const OF_THREADS = [
  'rseq',
  'rt_sigaction',
  'rt_sigprocmask',
  'sched_getaffinity',
  'set_robust_list',
  'sched_yield',
]

const WORK = '/var/lib/call-budget'

beforeAll(() => {
  enterSandbox()
  createOutside()
  mkdirSync(WORK)
})

/** A pod comes and goes on a node that has another one already: first calls make bridge, tables and directories. */
describe.each([
  ['l3', '10-bowline'],
  ['l2', 'example-l2'],
])('in mode %s', (mode, conflist) => {
  const config = pluginConfigOf(readConflist(conflist))
  let spent: { readonly ADD: SystemCalls; readonly DEL: SystemCalls }

  async function traced(call: Partial<PluginCall>): Promise<{ calls: SystemCalls; output: PluginOutput }> {
    const { calls, answer } = await tracePlugin({ command: 'VERSION', config, ...call }, WORK)
    expect(answer.exitCode, answer.stdout + answer.stderr).toBe(0)
    return { calls, output: answer.output }
  }

  const podCall = (name: string) => ({ containerId: name, netns: `/run/netns/${name}` })

  beforeAll(async () => {
    const [first, second] = [`${mode}-first`, `${mode}-second`]
    for (const name of [first, second]) createNetns(name)
    await traced({ command: 'ADD', ...podCall(first) })
    const version = await traced({})
    const add = await traced({ command: 'ADD', ...podCall(second) })
    const del = await traced({
      command: 'DEL',
      ...podCall(second),
      config: { ...config, prevResult: add.output },
    })
    spent = {
      ADD: withoutPauses(counted(beyond(add.calls, version.calls))),
      DEL: counted(beyond(del.calls, version.calls)),
    }
  })

  it.each(['ADD', 'DEL'] as const)('%s asks no more of the kernel than its budget', (command) => {
    const budget = BUDGETS[`${command} ${mode}`] ?? {}
    const grown = Object.entries(beyond(spent[command], budget)).map(
      ([name]) => `${name}: ${spent[command][name]}, and the budget is ${budget[name] ?? 0}`,
    )
    expect(grown, `all that ${command} did: ${JSON.stringify(spent[command])}`).toEqual([])
  })

  it('is counted at all', () => {
    expect(spent.ADD).toMatchObject({ socket: expect.any(Number), setns: expect.any(Number) })
    expect(spent.DEL).toMatchObject({ socket: expect.any(Number), unlink: expect.any(Number) })
  })
})

describe('the count', () => {
  it('takes a call that another thread interrupted once', () => {
    const trace =
      '7  sendto(3, "x" <unfinished ...>\n8  futex(0x1) = 0\n7  <... sendto resumed>) = 1\n7  sendto(3) = 1\n'
    expect(countSystemCalls(trace)).toEqual({ sendto: 2, futex: 1 })
  })

  it('tells only what is beyond the base', () => {
    expect(beyond({ openat: 5, read: 2, flock: 1 }, { openat: 3, read: 2 })).toEqual({ openat: 2, flock: 1 })
  })
})

function counted(calls: SystemCalls): SystemCalls {
  return Object.fromEntries(
    Object.entries(calls).filter(([name]) => ![...UNCOUNTED, ...OF_THREADS].includes(name)),
  )
}

/** What a busy kernel has not finished at the end of ADD is asked once more after each pause. */
function withoutPauses({ clock_nanosleep: pauses = 0, ...calls }: SystemCalls): SystemCalls {
  const { sendto = 0, recvfrom = 0 } = calls
  return { ...calls, sendto: sendto - pauses, recvfrom: recvfrom - pauses }
}
