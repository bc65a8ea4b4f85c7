import { writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { beforeAll, expect } from 'vitest'
import { L2, L3 } from '../../fakes/node.ts'
import { createNode, type NodeCall, type RecordJson, type TestNode } from './node.ts'
import {
  answerOf,
  inputOf,
  type PluginAnswer,
  type PluginCall,
  type PluginOutput,
  spawnPlugin,
} from './plugin.ts'
import { enterSandbox, NOTHING, type Residue } from './sandbox.ts'
import { type Injection, runTraced, type SystemCall, type Traced } from './strace.ts'

/*
 * A call that is disturbed, and what must be true afterwards: on a node, with or without another pod of the same network.
 */

/** What a runtime may do after a call that ended badly. */
export const RECOVERIES = ['DEL', 'ADD', 'GC'] as const
export type Recovery = (typeof RECOVERIES)[number]

/** An ordinary one-plugin configuration. */
type Config = Readonly<Record<string, unknown>> & { readonly bridge?: string }

export type Scenario = {
  readonly what: string
  readonly config: Config
  /** The call that is disturbed. */
  readonly command: 'ADD' | 'DEL' | 'GC'
  /** What was there before: a whole attachment, or one whose ADD was killed before its last write. */
  readonly before?: 'attached' | 'remains'
  /** The configuration of another pod on the node, which must not notice. */
  readonly neighbour?: Config
  /** How the call ends when nobody disturbs it: 0 unless told otherwise. */
  readonly exitCode?: 1
}

/** The calls of both modes, alone and beside another pod. */
export const SCENARIOS: readonly Scenario[] = [
  { what: 'ADD of the first pod, l3', config: L3, command: 'ADD' },
  { what: 'ADD of the first pod, l2', config: L2, command: 'ADD' },
  {
    what: 'ADD over remains beside another pod, l2',
    config: L2,
    command: 'ADD',
    before: 'remains',
    neighbour: L2,
  },
  { what: 'DEL of the last pod, l3', config: L3, command: 'DEL', before: 'attached' },
  { what: 'DEL beside another pod, l2', config: L2, command: 'DEL', before: 'attached', neighbour: L2 },
  { what: 'GC of one of two pods', config: L3, command: 'GC', before: 'attached', neighbour: L3 },
]

/** Gives a file four nodes with two pods each, on which its runs take place side by side. */
export function useNodes(): readonly TestNode[] {
  const nodes: TestNode[] = []
  beforeAll(async () => {
    enterSandbox()
    for (let i = 0; i < 4; i++) nodes.push(await createNode(`node${i}`, 2))
  })
  return nodes
}

const VICTIM = { containerId: 'victim', pod: 0 }
const NEIGHBOUR = { containerId: 'neighbour', pod: 1 }
/** CNI error codes, see src/core/errors.ts. */
const INTERFACE_EXISTS = 104
/**
 * How the process ends, without a word, when it can't leave the pod's namespace: no line of it may run in the wrong one. See
 * src/kernel/linux/namespace.ts.
 */
const EXIT_ASTRAY = 71
/** Of a run, until the kernel answers at once: most of the time it does. */
const MAX_TRIES = 30

export class ScenarioRun {
  readonly #node: TestNode
  readonly #scenario: Scenario
  readonly #neighbour: PluginOutput | undefined
  readonly #nothing: Residue

  private constructor(
    node: TestNode,
    scenario: Scenario,
    neighbour: PluginOutput | undefined,
    nothing: Residue,
  ) {
    this.#node = node
    this.#scenario = scenario
    this.#neighbour = neighbour
    this.#nothing = nothing
  }

  /** Makes the node fresh, with the neighbour if the scenario has one. */
  static async setup(node: TestNode, scenario: Scenario): Promise<ScenarioRun> {
    await node.clear()
    if (!scenario.neighbour) return new ScenarioRun(node, scenario, undefined, NOTHING)
    const answer = await node.call({ command: 'ADD', config: scenario.neighbour, ...NEIGHBOUR })
    expectSuccess(answer, 'ADD of the neighbour')
    node.keepStore()
    return new ScenarioRun(node, scenario, answer.output, await node.left())
  }

  /** Makes what was there before, then runs the scenario's call under strace. */
  async trace(...injections: Injection[]): Promise<Traced> {
    return runTraced(await this.#prepare(), ...injections)
  }

  /** The same without strace; killed, unless it ends before, after some time: ms. */
  async run(killAfterMs?: number): Promise<PluginAnswer> {
    const call = await this.#prepare()
    const started = performance.now()
    const child = spawnPlugin(call, inputOf(call))
    if (killAfterMs !== undefined) {
      await sleep(killAfterMs)
      child.kill('SIGKILL')
    }
    return answerOf(child, started)
  }

  /** The system calls of an undisturbed run on a kernel that answers at once. */
  async rehearse(): Promise<readonly SystemCall[]> {
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const { answer, calls, hasRepeated } = await this.trace()
      this.expectEnd(answer)
      await this.recover('DEL', 'an undisturbed run, then DEL')
      if (!hasRepeated) return calls
    }
    throw new Error(`the kernel kept ${this.#scenario.command} waiting ${MAX_TRIES} times`)
  }

  /**
   * Disturbs the call at that system call of the rehearsed run, and verifies what comes of it. When the kernel was too busy
   * to answer at once, another call was disturbed: that is verified as well, and then the run is repeated.
   */
  async disturb(
    { name, nth, text }: SystemCall,
    effect: Injection['effect'],
    verify: (answer: PluginAnswer, where: string) => Promise<void>,
  ): Promise<void> {
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const { answer, met } = await this.trace({ name, when: nth, effect })
      await verify(answer, `${effect} at ${met[0]?.text}`)
      if (met[0]?.nth === nth) return
    }
    throw new Error(`${effect} never came at ${text}`)
  }

  /** That the call ended by itself as it does when nobody disturbs it. */
  expectEnd({ exitCode, stdout }: PluginAnswer): void {
    expect(exitCode, stdout).toBe(this.#scenario.exitCode ?? 0)
  }

  /** That a disturbed call ended in one of the two ways that there are: all is done, or an error is told and all undone. */
  async expectAllOrNothing(answer: PluginAnswer, story: string): Promise<void> {
    const { command, before } = this.#scenario
    const told = `${story}: ${answer.stdout}`
    const isAstray = answer.exitCode === EXIT_ASTRAY && story.includes('at setns')
    if (answer.exitCode !== 0 && !isAstray) expectError(answer, told)
    if (command !== 'ADD') return this.recover(command, told)
    if (answer.exitCode === 0) await this.#expectWhole(answer, undefined, told)
    // What was there before goes with the DEL that the runtime sends now, and so does what an astray process made.
    else if (!before && !isAstray) {
      await this.#expectUndone(told)
      return expectSuccess(await this.#call('DEL'), told)
    }
    await this.recover('DEL', told)
  }

  /** No bridge either, and forwarding is off again: there is no other pod that could rely on it. */
  async #expectUndone(story: string): Promise<void> {
    expect(await this.#node.left(), story).toEqual(this.#nothing)
    expect(await this.#node.forwarding(), story).toBe('0\n0')
  }

  /** Does what a runtime may do, and proves that nothing is left but what was there without the victim. */
  async recover(recovery: Recovery, story: string): Promise<void> {
    if (recovery === 'ADD') await this.#addAgain(story)
    else expectSuccess(await this.#call(recovery), story)
    await this.expectNothing(story)
  }

  /** That nothing of the victim is there. A bridge may be: it stays for the next pod. */
  async expectNothing(story: string): Promise<void> {
    expect(this.#withoutBridge(await this.#node.left()), story).toEqual(this.#withoutBridge(this.#nothing))
  }

  /** That the victim's pod is empty, and the other one as its ADD left it. */
  async expectPods(): Promise<void> {
    const [, other] = this.#node.pods
    expect(await this.#node.inPods()).toEqual(this.#neighbour ? [`${other?.name} eth0`] : [])
    if (!this.#neighbour) return
    const config = { ...this.#scenario.neighbour, prevResult: this.#neighbour }
    expectSuccess(await this.#node.call({ command: 'CHECK', config, ...NEIGHBOUR }), 'CHECK of the neighbour')
  }

  /** A second ADD gets the addresses that the first had written down, and makes a whole attachment. */
  async #addAgain(story: string): Promise<void> {
    const before = this.#node.record(VICTIM.containerId)?.record
    const wasThere = (await this.#node.inPods()).includes(`${this.#node.pods[0]?.name} eth0`)
    const answer = await this.#call('ADD')
    // Only the last word to the runtime was missing: the pod is whole, and its interface is in the way of another.
    if (before?.complete && wasThere) expect(answer.output.code, story).toBe(INTERFACE_EXISTS)
    else if (this.#scenario.exitCode === 1) expect(answer.exitCode, story).toBe(1)
    else await this.#expectWhole(answer, before, story)
    expectSuccess(await this.#call('DEL'), story)
  }

  async #expectWhole(answer: PluginAnswer, before: RecordJson | undefined, story: string): Promise<void> {
    expectSuccess(answer, story)
    const addresses = answer.output.ips?.map(({ address }) => address.replace(/\/.*/, ''))
    if (before?.leases) expect(addresses, story).toEqual(before.leases.addresses)
    expectSuccess(await this.#call('CHECK', { prevResult: answer.output }), `${story}, then CHECK`)
  }

  async #prepare(): Promise<PluginCall> {
    const { command, config, before, neighbour } = this.#scenario
    await this.#node.renew(neighbour ? { keepForwarding: true } : { bridge: config.bridge })
    if (before) expectSuccess(await this.#call('ADD'), 'the ADD before')
    if (before === 'remains') this.#markIncomplete()
    return this.#node.place(callOf(command, config, this.#valid))
  }

  #call(command: NodeCall['command'], more: Record<string, unknown> = {}): Promise<PluginAnswer> {
    return this.#node.call(callOf(command, { ...this.#scenario.config, ...more }, this.#valid))
  }

  get #valid(): readonly object[] {
    const { containerId } = NEIGHBOUR
    return this.#scenario.neighbour ? [{ containerID: containerId, ifname: 'eth0' }] : []
  }

  /** As the record is until the last write of an ADD. */
  #markIncomplete(): void {
    const found = this.#node.record(VICTIM.containerId)
    writeFileSync(found?.path ?? '', JSON.stringify({ ...found?.record, complete: false }))
  }

  #withoutBridge(left: Residue): Residue {
    return { ...left, links: left.links.filter((name) => name !== this.#scenario.config.bridge) }
  }
}

function expectSuccess({ exitCode, signal, stdout, stderr }: PluginAnswer, story: string): void {
  expect({ exitCode, signal, stderr }, `${story}: ${stdout}`).toEqual({
    exitCode: 0,
    signal: undefined,
    stderr: '',
  })
}

/** Exactly one JSON object, on one line. */
function expectError({ exitCode, signal, stdout, ms }: PluginAnswer, story: string): void {
  expect({ exitCode, signal, stdout }, `${story} (after ${Math.round(ms)} ms)`).toEqual({
    exitCode: 1,
    signal: undefined,
    stdout: expect.stringMatching(/^\{.*\}\n$/),
  })
  expect(JSON.parse(stdout), story).toMatchObject({
    code: expect.any(Number),
    msg: expect.stringMatching(/./),
  })
}

function callOf(command: NodeCall['command'], config: Config, valid: readonly object[]): NodeCall {
  if (command === 'GC') return { command, config: { ...config, 'cni.dev/valid-attachments': valid } }
  return { command, config, ...VICTIM }
}
