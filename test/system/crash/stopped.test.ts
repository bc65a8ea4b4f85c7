import { describe, expect, it } from 'vitest'
import { L2, L3 } from '../../fakes/node.ts'
import { type NodeCall, onEach, type TestNode } from '../../support/node/node.ts'
import type { PluginAnswer } from '../../support/node/plugin.ts'
import { NOTHING, type Residue } from '../../support/node/sandbox.ts'
import { useNodes } from '../../support/node/scenario.ts'
import { runTraced, type SystemCall, startTraced } from '../../support/node/strace.ts'

/*
 * What two calls do to each other depends on where the one is when the other comes. So one is stopped after each of its
 * system calls that learns or changes anything, a whole life of another pod passes, a GC included, and then it goes on.
 * While it holds the lock of the pool, or that of the bridge alone, nobody else would get on, by design: there it is not
 * stopped.
 */

/**
 * Calls that neither learn nor change anything that others know of. The kernel has done what a request asks when `sendto`
 * returns; `recvfrom` may still read on when there are many answers, until the last.
 */
const SILENT =
  /^(arch_prctl|set_tid_address|sigaltstack|rt_sig|fcntl|prlimit64|mmap|read\(0|geteuid|clock_gettime|socket|setsockopt|recvfrom(?!.*NLMSG_DONE)|exit_group)/
/** Of a run, until the kernel answers at once: most of the time it does. */
const MAX_TRIES = 30

const FIRST = { containerId: 'first', pod: 0 }
const SECOND = { containerId: 'second', pod: 1 }

const MODES: readonly Mode[] = [
  { mode: 'l3', config: L3 },
  { mode: 'l2, the bridge still to be made', config: L2 },
  { mode: 'l2, the bridge being there', config: L2, hasBridge: true },
]

type Mode = { readonly mode: string; readonly config: object; readonly hasBridge?: true }

const nodes = useNodes()

describe.each(MODES)('mode $mode', (mode) => {
  const { config } = mode

  it('an ADD goes on as if nothing had been, wherever another pod and a GC come and go', async () => {
    await stopAtEach(mode, { command: 'ADD', config, ...FIRST }, async (node, calls, goOn) => {
      // What it has not finished is its own as long as it holds the attachment; after that only the list protects it.
      const isComplete = calls.some(({ text }) => /^pwrite64\(\d+, "true ", 5, 24\)/.test(text))
      const isBusy = locksHeldAfter(calls).some((lock) => /\.locks\/[0-9a-f]{3} /.test(lock))
      const valid = isComplete && !isBusy ? [FIRST.containerId] : []
      await expectLife(node, config)
      expectSuccess(await node.call({ command: 'GC', config: garbage(config, valid) }))
      const answer = await goOn()
      expectSuccess(answer)
      await expectWhole(node, config, FIRST, answer)
    })
  })
})

describe.each(MODES.filter(({ config, hasBridge }) => config === L3 || hasBridge))('mode $mode', (mode) => {
  const { config } = mode

  it.each<NodeCall>([
    { command: 'DEL', config, ...FIRST },
    { command: 'GC', config: garbage(config, [SECOND.containerId]) },
  ])('a $command takes nothing from a pod that comes meanwhile', async (call) => {
    await stopAtEach(mode, call, async (node, _, goOn) => {
      const answer = await node.call({ command: 'ADD', config, ...SECOND })
      expectSuccess(answer)
      expectSuccess(await goOn())
      await expectWhole(node, config, SECOND, answer)
    })
  })
})

function garbage(config: object, valid: readonly string[]): object {
  const attachments = valid.map((containerID) => ({ containerID, ifname: 'eth0' }))
  return { ...config, 'cni.dev/valid-attachments': attachments }
}

type Meanwhile = (
  node: TestNode,
  calls: readonly SystemCall[],
  goOn: () => Promise<PluginAnswer>,
) => Promise<void>

/** Runs the call as often as it has system calls, on fresh nodes; `meanwhile` comes after one more of them each time. */
async function stopAtEach(mode: Mode, call: NodeCall, meanwhile: Meanwhile): Promise<void> {
  const [first] = nodes as [TestNode]
  for (const node of nodes) {
    await node.clear()
    if (mode.hasBridge) await expectLife(node, mode.config)
  }
  const calls = await rehearse(first, mode, call)
  const places = calls.filter((_, at) => isTelling(calls, at) && !isBarred(mode, calls.slice(0, at + 1)))
  await onEach(nodes, places, async (node, place) => {
    for (let tries = 0; !(await stopAt(node, mode, call, place, meanwhile)); tries++)
      if (tries === MAX_TRIES) throw new Error(`never stopped after ${place.text}`)
  })
  console.log(`${call.command}: another pod came at ${places.length} of ${calls.length} system calls`)
  expect(places.length).toBeGreaterThan(20)
}

/** The system calls of an undisturbed run on a kernel that answers at once. */
async function rehearse(node: TestNode, mode: Mode, call: NodeCall): Promise<readonly SystemCall[]> {
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    await prepare(node, mode, call)
    const { answer, calls, hasRepeated } = await runTraced(node.place(call))
    expectSuccess(answer)
    await finish(node, call)
    if (!hasRepeated) return calls
  }
  throw new Error(`the kernel kept ${call.command} waiting ${MAX_TRIES} times`)
}

/** Returns whether it was this call after which it was stopped: a question that is asked again comes in between. */
async function stopAt(
  node: TestNode,
  mode: Mode,
  call: NodeCall,
  { name, nth, text }: SystemCall,
  meanwhile: Meanwhile,
): Promise<boolean> {
  await prepare(node, mode, call)
  const process = startTraced(node.place(call), { name, when: nth, effect: 'signal=STOP' })
  const calls = await process.untilStopped()
  if (!calls) throw new Error(`it has ended, and was never stopped after ${text}`)
  const goOn = async () => {
    process.resume()
    const { answer, calls } = await process.ended
    if (answer.signal) throw new Error(`${answer.signal}, the last calls being ${lastOf(calls)}`)
    return answer
  }
  await meanwhile(node, calls, goOn).catch((error: unknown) => {
    throw new Error(`stopped after ${calls.at(-1)?.text}`, { cause: error })
  })
  await finish(node, call)
  return calls.at(-1)?.nth === nth
}

/** To close a file tells nobody, unless it was locked. */
function isTelling(calls: readonly SystemCall[], at: number): boolean {
  const { name = '', text = '' } = calls[at] ?? {}
  if (name === 'close')
    return locksHeldAfter(calls.slice(0, at)).length > locksHeldAfter(calls.slice(0, at + 1)).length
  return !SILENT.test(text)
}

/** For a process that did not come to its end in time. */
function lastOf(calls: readonly SystemCall[]): string {
  return calls
    .slice(-20)
    .map(({ text }) => `\n  ${text.slice(0, 200)}`)
    .join('')
}

/** Whether nobody else would get on now: the pool or masquerading is locked, or the bridge and another would make or change it. */
function isBarred({ hasBridge }: Mode, calls: readonly SystemCall[]): boolean {
  const bars = hasBridge ? /\/lock |\/masquerade |\/bridge-\S+ EX/ : /\/(lock|masquerade) |\/bridge-/
  return locksHeldAfter(calls).some((lock) => bars.test(lock))
}

/** `PATH EX` or `PATH SH` for each lock. */
function locksHeldAfter(calls: readonly SystemCall[]): string[] {
  const paths = new Map<string, string>()
  const held = new Map<string, string>()
  for (const { text } of calls) {
    const [, path = '', opened] = /^openat\(AT_FDCWD, "([^"]+)".* = (\d+)$/.exec(text) ?? []
    if (opened) paths.set(opened, path)
    const [, locked, kind] = /^flock\((\d+), LOCK_(\w+)\|LOCK_NB\) += 0$/.exec(text) ?? []
    if (locked) held.set(locked, `${paths.get(locked)} ${kind}`)
    held.delete(/^close\((\d+)\)/.exec(text)?.[1] ?? '')
  }
  return [...held.values()]
}

/** Before a removal there is something to remove. */
async function prepare(node: TestNode, { hasBridge }: Mode, { command, config }: NodeCall): Promise<void> {
  await node.renew(hasBridge ? {} : { bridge: 'br0' })
  if (command !== 'ADD') expectSuccess(await node.call({ command: 'ADD', config, ...FIRST }))
}

/** The other pod is gone already when the call is an ADD, see `expectLife`. */
async function finish(node: TestNode, { command, config }: NodeCall): Promise<void> {
  for (const pod of command === 'ADD' ? [FIRST] : [FIRST, SECOND])
    expectSuccess(await node.call({ command: 'DEL', config, ...pod }))
  expect(withoutBridge(await node.left())).toEqual(NOTHING)
}

async function expectLife(node: TestNode, config: object): Promise<void> {
  const answer = await node.call({ command: 'ADD', config, ...SECOND })
  expectSuccess(answer)
  await expectWhole(node, config, SECOND, answer)
  expectSuccess(await node.call({ command: 'DEL', config, ...SECOND }))
}

async function expectWhole(
  node: TestNode,
  config: object,
  pod: typeof FIRST,
  { output }: PluginAnswer,
): Promise<void> {
  expectSuccess(await node.call({ command: 'CHECK', config: { ...config, prevResult: output }, ...pod }))
}

function withoutBridge(left: Residue): Residue {
  return { ...left, links: left.links.filter((name) => name !== 'br0') }
}

function expectSuccess({ exitCode, stdout }: PluginAnswer): void {
  expect(exitCode, stdout).toBe(0)
}
