import { type Fault, isErrno, toFault } from '../core/errors.ts'
import type { KubeApi, Query, WatchEvent } from './api.ts'
import { createBackoff } from './backoff.ts'

/**
 * After this the server ends a watch, or up to a third earlier: else all nodes, which have come back in one moment after the server
 * was away, would come again in one. Some load balancers cut an idle connection at five minutes, and Bun at six.
 */
const WATCH_SECONDS = 240
/** A server says something about every minute (a bookmark). What is silent for longer counts as dead: a machine that has lost its power. */
const SILENCE_MS = 100_000
/** After a watch of this length the intervals begin anew. */
const HEALTHY_MS = 10_000

export type ListWatch<T> = {
  /** `/api/v1/nodes` */
  readonly path: string
  /** Such as a field selector. */
  readonly query: Query
  /** Returns the part of an object that is kept: a cluster has thousands of objects, and most of each is of no use here. */
  readonly decode: (object: unknown) => T
  /** Is called with all objects, never with a part of them, after each list and each change. One that has not changed is the same value. */
  readonly onChange: (objects: readonly T[]) => void
  /** Is called for each failure, with the time until the next attempt. */
  readonly onFailure: (fault: Fault, retryMs: number) => void
  /** Returns what is aborted once the connections of this moment may be dead, although nothing says so. The watch is resumed by another. */
  readonly connections?: () => AbortSignal
  /** Resolves after so many ms, or when the signal is aborted. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>
  readonly random: () => number
}

type Meta = { readonly name?: string; readonly namespace?: string; readonly resourceVersion?: string }
type Page = { readonly items?: unknown[]; readonly metadata?: Meta & { readonly continue?: string } }

/** Objects in one answer: a Node with its images takes 20 kB, and what a large answer has used of the heap is not given back. */
const PAGE = 200

/**
 * Keeps a copy of some objects up to date until the signal ends it: a list, then watches that resume where the one before ended. It lists
 * again only when the server has forgotten that place (410). Failures are repeated without end, at growing intervals.
 */
export async function listWatch<T>(api: KubeApi, options: ListWatch<T>, signal: AbortSignal): Promise<void> {
  const { path, query, decode, onChange, onFailure, connections, sleep, random } = options
  const backoff = createBackoff({ random })
  let objects = new Map<string, T>()
  let version: string | undefined
  while (!signal.aborted) {
    const begun = Date.now()
    try {
      if (version === undefined) {
        const list = await listAll(api, options, objects)
        objects = list.objects
        version = list.version
        onChange([...objects.values()])
      }
      const end = AbortSignal.any([signal, ...(connections ? [connections()] : [])])
      const timeoutSeconds = String(Math.round(WATCH_SECONDS * (1 - random() / 3)))
      const asked = { ...query, resourceVersion: version, timeoutSeconds }
      const onEvent = (event: WatchEvent) => {
        version = metaOf(event.object).resourceVersion ?? version
        if (takeEvent(objects, event, decode)) onChange([...objects.values()])
      }
      await watchWhileAlive(api, { path, query: asked }, onEvent, end)
      if (Date.now() - begun >= HEALTHY_MS) backoff.reset()
      // A server that ends each watch at once must not be asked without a pause.
      else await sleep(backoff.next(), signal)
    } catch (error) {
      if (isErrno(error, 'expired')) version = undefined
      if (Date.now() - begun >= HEALTHY_MS) backoff.reset()
      const retryMs = backoff.next()
      if (!isErrno(error, 'expired')) onFailure(toFault(error), retryMs)
      await sleep(retryMs, signal)
    }
  }
}

/** Runs a watch until the server, the signal or a long silence ends it. */
async function watchWhileAlive(
  api: KubeApi,
  { path, query }: Pick<ListWatch<unknown>, 'path' | 'query'>,
  onEvent: (event: WatchEvent) => void,
  signal: AbortSignal,
): Promise<void> {
  const silence = new AbortController()
  const wait = () => setTimeout(() => silence.abort(), SILENCE_MS)
  let timer = wait()
  const hear = (event: WatchEvent) => {
    clearTimeout(timer)
    timer = wait()
    onEvent(event)
  }
  try {
    await api.watch(path, query, hear, AbortSignal.any([signal, silence.signal]))
  } finally {
    clearTimeout(timer)
  }
}

/** Reads all objects, page by page, as they are at one version. */
async function listAll<T>(
  api: KubeApi,
  { path, query, decode }: ListWatch<T>,
  before: ReadonlyMap<string, T>,
): Promise<{ readonly objects: Map<string, T>; readonly version: string }> {
  const objects = new Map<string, T>()
  for (let next = ''; ; ) {
    const paging = { limit: String(PAGE), ...(next && { continue: next }) }
    const { items = [], metadata } = (await api.get(path, { ...query, ...paging })) as Page
    for (const item of items) objects.set(keyOf(item), kept(before, item, decode))
    next = metadata?.continue ?? ''
    if (!next) return { objects, version: metadata?.resourceVersion ?? '0' }
  }
}

/**
 * Applies an event. Returns false for a bookmark, which carries nothing but a resource version, and where nothing has changed of what is
 * kept: the kubelet writes its Node at least every five minutes, and a cluster has thousands of Nodes.
 */
function takeEvent<T>(
  objects: Map<string, T>,
  { type, object }: WatchEvent,
  decode: ListWatch<T>['decode'],
): boolean {
  if (type === 'BOOKMARK') return false
  const key = keyOf(object)
  if (type === 'DELETED') return objects.delete(key)
  const after = kept(objects, object, decode)
  if (objects.has(key) && objects.get(key) === after) return false
  objects.set(key, after)
  return true
}

/** Returns what is kept of an object: the value that is there already, if that says the same. */
function kept<T>(objects: ReadonlyMap<string, T>, object: unknown, decode: ListWatch<T>['decode']): T {
  const [before, after] = [objects.get(keyOf(object)), decode(object)]
  return before !== undefined && JSON.stringify(before) === JSON.stringify(after) ? before : after
}

function keyOf(object: unknown): string {
  const { namespace = '', name = '' } = metaOf(object)
  return `${namespace}/${name}`
}

function metaOf(object: unknown): Meta {
  return (object as { metadata?: Meta } | undefined)?.metadata ?? {}
}
