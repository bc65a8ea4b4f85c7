/**
 * THE API PORT: what Bowline asks of a Kubernetes API server. Every method rejects with a Fault that says what was asked and what to do;
 * its errno is one of `ApiErrno`. Nothing is repeated here: who asks knows how long an answer is worth waiting for.
 */
export interface KubeApi {
  /** Reads the JSON at a path such as `/api/v1/nodes/n1`. */
  get(path: string, query?: Query): Promise<unknown>
  /** Merges JSON into an object, lists by their merge keys (strategic merge patch). */
  patch(path: string, body: unknown): Promise<void>
  /** Hands on each event of a watch, until the server ends it, which is no error, or the signal does. */
  watch(path: string, query: Query, onEvent: (event: WatchEvent) => void, signal: AbortSignal): Promise<void>
}

export type Query = Readonly<Record<string, string>>

export type WatchEvent = {
  /** ADDED, MODIFIED, DELETED or BOOKMARK. */
  readonly type: string
  readonly object: unknown
}

/** The kinds of failure of a request. They take the place of an errno in a Fault, and are the label of a metric. */
export type ApiErrno =
  | 'unreachable'
  | 'timeout'
  | 'certificate'
  | 'clock'
  | 'unauthorized'
  | 'forbidden'
  | 'missing'
  | 'expired'
  | 'busy'
  | 'broken'
