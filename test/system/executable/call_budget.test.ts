import { mkdirSync } from 'node:fs'
import { beforeAll, describe, expect, it } from 'vitest'
import {
  type PluginCall,
  type PluginOutput,
  pluginConfigOf,
  readConflist,
} from '../../support/node/plugin.ts'
import { createNetns, createOutside, enterSandbox } from '../../support/node/sandbox.ts'
import { beyond, type SystemCalls, tracePlugin } from '../../support/node/system_calls.ts'

/*
 * What a call may ask of the kernel, beyond what VERSION does. The numbers are the same on every machine, so a slip is seen
 * before anybody has to measure. One more is a decision: raise the number here with the change that needs it, and lower it when
 * a call has become cheaper.
 *
 * `sendto` is a round trip to netlink or nftables, and each `openat` a file or namespace.
 */
const BUDGETS: Readonly<Record<string, SystemCalls>> = {
  // One of the round trips asks who has the address and the gateway before, and for the node's way out, one answer more of each
  // family: none of the node's own, or of its routers', is a pod's. One of the files would say that the masquerading of a
  // subnet is being removed; one round trip asks whether the subnet has it, and has one answer more: whether the rule is there that
  // checks the sources of pods.
  'ADD l3': {
    read: 2,
    openat: 17,
    statx: 13,
    ioctl: 2,
    clock_gettime: 2,
    flock: 2,
    geteuid: 1,
    setns: 2,
    socket: 3,
    setsockopt: 6,
    sendto: 9,
    recvfrom: 13,
    pread64: 6,
    close: 14,
    pwrite64: 6,
    linkat: 2,
    write: 1,
  },
  // One of the round trips asks whose the link of that name is.
  'DEL l3': {
    read: 2,
    clock_gettime: 2,
    openat: 11,
    statx: 13,
    flock: 2,
    geteuid: 1,
    pread64: 11,
    close: 10,
    socket: 2,
    setsockopt: 4,
    sendto: 4,
    recvfrom: 4,
    ioctl: 1,
    unlinkat: 3,
    pwrite64: 1,
    getdents64: 2,
  },
  // Two of the round trips ask for the MTU of the way out: the routes of each family with the rules, and the link. Four of
  // the files are the lease of the address in each other network: no pod of another network may have it.
  'ADD l2': {
    read: 2,
    openat: 28,
    statx: 18,
    ioctl: 2,
    clock_gettime: 3,
    flock: 3,
    geteuid: 1,
    setns: 6,
    socket: 3,
    setsockopt: 7,
    sendto: 14,
    recvfrom: 21,
    pread64: 10,
    close: 22,
    pwrite64: 8,
    linkat: 3,
    write: 1,
    getdents64: 4,
  },
  'DEL l2': {
    read: 2,
    clock_gettime: 2,
    openat: 14,
    statx: 16,
    flock: 2,
    geteuid: 1,
    pread64: 17,
    close: 13,
    socket: 2,
    setsockopt: 4,
    sendto: 6,
    recvfrom: 6,
    ioctl: 1,
    unlinkat: 4,
    pwrite64: 1,
    getdents64: 2,
  },
}

/** Memory is taken from the kernel in pieces of a megabyte; how many depends on the configuration. */
const UNCOUNTED = ['mmap', 'nanosleep']

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
      ADD: counted(withoutPauses(beyond(add.calls, version.calls))),
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
    expect(spent.DEL).toMatchObject({ socket: expect.any(Number), unlinkat: expect.any(Number) })
  })
})

describe('the count', () => {
  it('tells only what is beyond the base', () => {
    expect(beyond({ openat: 5, read: 2, flock: 1 }, { openat: 3, read: 2 })).toEqual({ openat: 2, flock: 1 })
  })
})

function counted(calls: SystemCalls): SystemCalls {
  return Object.fromEntries(Object.entries(calls).filter(([name]) => !UNCOUNTED.includes(name)))
}

/** What a busy kernel has not finished at the end of ADD is asked once more after each pause. */
function withoutPauses({ nanosleep: pauses = 0, ...calls }: SystemCalls): SystemCalls {
  const { sendto = 0, recvfrom = 0 } = calls
  return { ...calls, sendto: sendto - pauses, recvfrom: recvfrom - pauses }
}
