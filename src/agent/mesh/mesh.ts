import { toFault } from '../../core/errors.ts'
import type { ProbeSender } from '../../kernel/probes.ts'
import { keepMeshAddresses } from '../../overlay/mesh/addresses.ts'
import { trialOf } from '../../overlay/mesh/offload.ts'
import { decodePacket } from '../../overlay/mesh/packet.ts'
import { createSchedule } from '../../overlay/mesh/schedule.ts'
import type { MeshFinding, MeshView, NoMesh } from '../../overlay/mesh/view.ts'
import type { OverlayPlan } from '../../overlay/plan.ts'
import type { AgentLog, Warning } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import { createWakeup, sleep, type Wakeup } from '../wakeup.ts'
import { Exchange } from './exchange.ts'
import { countPacket, observeMesh } from './mesh_metrics.ts'
import { MeshState } from './mesh_state.ts'
import { runTrial } from './offload_trial.ts'
import type { Peer } from './peer.ts'
import { Responder } from './responder.ts'
import { firstProbes, MAX_ATTEMPTS, record } from './turn.ts'
import { type MeshChange, rowChange, viewOf } from './views.ts'

export type MeshPorts = {
  readonly log: AgentLog
  readonly metrics: Metrics
  readonly nodeName: string
  /** Calls back with each datagram that comes to this UDP port, by either family. Rejects if the port is taken. */
  readonly listen: (port: number, onPacket: (bytes: Uint8Array) => void) => Promise<{ close(): void }>
  readonly openSender: () => ProbeSender
  /** A clock that never jumps, in ms with a fraction. */
  readonly nowMs: () => number
  /** Returns 16 random hex digits. */
  readonly nonce: () => string
  readonly random: () => number
  /** Called when packets to a node arrive only with a checksum that is not left to the device. */
  readonly onBrokenOffload: (peer: string) => void
}

export type Mesh = {
  /** Takes the plan in force, if there is one, and what the overlay complains of. Costs nothing before the next turn. */
  setPlan(plan: OverlayPlan | undefined, complaints: readonly Warning[]): void
  view(): MeshView | NoMesh
  /** Calls back after each change, until the returned function is called. */
  subscribe(onChange: (change: MeshChange) => void): () => void
  /** Resolves when the loop has ended, which only the signal makes it. */
  readonly ended: Promise<void>
}

/** How long nothing happens before the first plan, and where probes are turned off. A plan ends it. */
const IDLE_MS = 600_000
/** How long an answer may take; less where probes are closer together than that. */
const TIMEOUT_MS = 1000
const LEAST_TIMEOUT_MS = 400
/** A port that is taken is tried again. */
const RETRY_MS = 30_000
/** So many peers that have never had a turn get it sooner: a small cluster is known within seconds. */
const QUICK_TURNS = 16
const QUICK_MS = 250
/** While somebody looks at the page, turns are no further apart: it is to be live. */
const WATCHED_MS = 2000

type Loop = {
  readonly ports: MeshPorts
  readonly state: MeshState
  readonly listeners: Set<(change: MeshChange) => void>
  readonly responder: Responder
  readonly sender: ProbeSender
  exchange: Exchange | undefined
  quickTurns: number
}

/** Starts to measure the other nodes, and to answer them. */
export function startMesh(ports: MeshPorts, signal: AbortSignal): Mesh {
  const state = new MeshState(ports.nodeName)
  const listeners: Loop['listeners'] = new Set()
  const planned = createWakeup()
  signal.addEventListener('abort', () => planned.wake())
  const loop: Loop = {
    ports,
    state,
    listeners,
    responder: new Responder(state),
    sender: ports.openSender(),
    exchange: undefined,
    quickTurns: QUICK_TURNS,
  }
  observeMesh(ports.metrics, state)
  return {
    setPlan(plan, complaints) {
      state.offer(plan, complaints)
      planned.wake()
    },
    view() {
      proceed(loop)
      return viewOf(state, ports.nowMs())
    },
    subscribe(onChange) {
      listeners.add(onChange)
      return () => void listeners.delete(onChange)
    },
    ended: keepMeasured(loop, planned, signal),
  }
}

/** Takes the last plan, if there is another one than before, and lets pages know. */
function proceed({ state, listeners, ports }: Loop): void {
  const plan = state.proceed()
  if (!plan) return
  state.complaints = [...state.complaints, ...refusedAddresses(plan)]
  if (listeners.size === 0) return
  const view = viewOf(state, ports.nowMs())
  for (const tell of listeners) tell({ kind: 'view', view })
}

function refusedAddresses(plan: OverlayPlan): Warning[] {
  try {
    keepMeshAddresses(plan)
    return []
  } catch (error) {
    const { message, hint } = toFault(error)
    return [{ message: `other nodes cannot measure the way to pods of this one: ${message}`, hint }]
  }
}

async function keepMeasured(loop: Loop, planned: Wakeup, signal: AbortSignal): Promise<void> {
  const { state, ports } = loop
  const schedule = createSchedule(state.ownName)
  let open: { readonly port: number; close(): void } | undefined
  while (!signal.aborted) {
    proceed(loop)
    const { probePort = 0, probeIntervalMs = 0 } = state.plan?.node.config ?? {}
    if (open && (open.port !== probePort || probeIntervalMs === 0)) {
      open.close()
      open = undefined
    }
    if (probeIntervalMs === 0) {
      await planned.wait(IDLE_MS)
      continue
    }
    open ??= await listen(loop, probePort)
    if (!open) {
      await sleep(RETRY_MS, signal)
      continue
    }
    const begun = ports.nowMs()
    const name = schedule.next(state.ring, state.suspects)
    const peer = state.peers.get(name ?? '')
    if (peer) await takeTurn(peer, loop, signal)
    const pause = pauseAfter(peer, loop, probeIntervalMs) * (1.05 - ports.random() / 10)
    await sleep(Math.max(0, pause - (ports.nowMs() - begun)), signal)
  }
  open?.close()
  loop.sender.close()
}

async function listen(loop: Loop, port: number): Promise<{ port: number; close(): void } | undefined> {
  const { ports, state, sender } = loop
  try {
    const socket = await ports.listen(port, (bytes) => receive(bytes, loop, port))
    const { probeIntervalMs = 0 } = state.plan?.node.config ?? {}
    const timeoutMs = Math.min(TIMEOUT_MS, Math.max(LEAST_TIMEOUT_MS, probeIntervalMs))
    state.obstacle = undefined
    loop.exchange = new Exchange(state.ownId, { ...ports, sender, port, timeoutMs })
    return { port, close: () => socket.close() }
  } catch (error) {
    const hint = 'Free the port, or set "probePort" in overlay.json to another one.'
    const message = `other nodes are not measured: UDP port ${port}: ${toFault(error).message}`
    state.obstacle = { message, hint }
    ports.log.warn({ hint, retryMs: RETRY_MS }, message)
    return undefined
  }
}

function receive(bytes: Uint8Array, loop: Loop, port: number): void {
  const { ports, state, responder, sender, exchange } = loop
  const packet = decodePacket(bytes)
  const nowMs = ports.nowMs()
  if (packet?.kind === 'request') {
    proceed(loop)
    const answer = responder.answerTo(packet, nowMs)
    if (answer) sender.send(answer.bytes, answer.to, port)
    countPacket(ports.metrics, answer ? 'answered' : 'ignored')
    return
  }
  const isAwaited = packet !== undefined && exchange?.take(packet) === true
  if (isAwaited) state.matrix.learn(packet, nowMs)
  countPacket(ports.metrics, isAwaited ? 'answer' : 'ignored')
}

async function takeTurn(peer: Peer, loop: Loop, signal: AbortSignal): Promise<void> {
  const { state, exchange, ports, listeners } = loop
  state.refresh(peer)
  let probes = firstProbes(peer)
  for (let attempt = 0; attempt < MAX_ATTEMPTS && probes.length > 0 && exchange; attempt++) {
    const outcomes = await exchange.run(peer.id, probes, signal)
    // What has not been answered by then says nothing.
    if (signal.aborted) return
    probes = record(peer, outcomes, ports.nowMs())
  }
  const trial = state.plan && exchange && trialOf(peer.measured(), state.plan.node.config)
  peer.offload = trial && exchange && (await runTrial(trial, peer, exchange, ports.nowMs, signal))
  if (signal.aborted) return
  peer.turns++
  const { before, now } = state.conclude(peer)
  logNews(ports.log, before, now)
  if (peer.offload === 'broken') ports.onBrokenOffload(peer.node.name)
  if (listeners.size === 0) return
  const nowMs = ports.nowMs()
  for (const change of rowChange(state, peer, nowMs)) for (const tell of listeners) tell(change)
}

/** The first turn of a peer comes soon, as often as there is a quick turn left; each ordinary one earns another. */
function pauseAfter(peer: Peer | undefined, loop: Loop, intervalMs: number): number {
  const isFresh = peer !== undefined && peer.turns <= 1
  if (isFresh && loop.quickTurns > 0) {
    loop.quickTurns--
    return Math.min(intervalMs, QUICK_MS)
  }
  loop.quickTurns = Math.min(QUICK_TURNS, loop.quickTurns + 1)
  return loop.listeners.size > 0 ? Math.min(intervalMs, WATCHED_MS) : intervalMs
}

function logNews(log: AgentLog, before: readonly MeshFinding[], now: readonly MeshFinding[]): void {
  const said = new Set(before.map(({ message }) => message))
  for (const { message, hint, peer } of now) if (!said.has(message)) log.warn({ peer, hint }, message)
  const gone = before.length > 0 && now.length === 0
  if (gone)
    log.info({ peer: before[0]?.peer }, `all ways to node ${before[0]?.peer} are as they should be again`)
}
