import type { KubeApi, Query, WatchEvent } from './api.ts'
import { apiFault, connectionFault, statusFault } from './api_fault.ts'
import { linesOf } from './lines.ts'

/** The bound of every request but a watch. */
const TIMEOUT_MS = 15_000

/** The address of the API server and the credentials, which are read for each request: the kubelet replaces both files. */
export type Credentials = {
  /** `https://10.96.0.1:443` */
  readonly server: string
  readonly readToken: () => Promise<string>
  /** PEM. */
  readonly readAuthority: () => Promise<string>
  /** Is called with each answer. The difference is positive if the server's clock is ahead, and has an error of a second. */
  readonly onClock?: (skewMs: number) => void
}

type RequestOptions = {
  readonly method?: string
  readonly body?: unknown
  readonly signal: AbortSignal
}

/**
 * Creates the API port over Bun's fetch. Each request opens a connection of its own: there is one in four minutes, and a connection
 * that is kept alive would not check the certificate again after a rotation of the authority.
 */
export function createKubeClient(credentials: Credentials): KubeApi {
  return {
    async get(path, query = {}) {
      const action = `read ${path}`
      const response = await request(credentials, action, path + queryText(query), within(TIMEOUT_MS))
      return parse(action, await bodyOf(action, response))
    },
    async patch(path, body) {
      const action = `patch ${path}`
      const options = { method: 'PATCH', body, ...within(TIMEOUT_MS) }
      await bodyOf(action, await request(credentials, action, path, options))
    },
    async watch(path, query, onEvent, signal) {
      const action = `watch ${path}`
      const all = { ...query, watch: 'true', allowWatchBookmarks: 'true' }
      const response = await request(credentials, action, path + queryText(all), { signal })
      try {
        for await (const line of linesOf(response.body)) onEvent(eventOf(action, line))
      } catch (error) {
        if (!signal.aborted) throw connectionFault(action, error)
      }
    },
  }
}

async function request(
  { server, readToken, readAuthority, onClock }: Credentials,
  action: string,
  path: string,
  { method = 'GET', body, signal }: RequestOptions,
): Promise<Response> {
  try {
    // One after the other: where both are missing, it is always the same one that is reported.
    const token = await readToken()
    const ca = await readAuthority()
    const options = {
      method,
      signal,
      headers: {
        Accept: 'application/json',
        Authorization: `Bearer ${token.trim()}`,
        ...(body !== undefined && { 'Content-Type': 'application/strategic-merge-patch+json' }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      tls: { ca },
      keepalive: false,
      // Bun's own limit of five idle minutes.
      timeout: false,
      redirect: 'error' as const,
    }
    const response = await fetch(server + path, options)
    const date = Date.parse(response.headers.get('date') ?? '')
    if (onClock && !Number.isNaN(date)) onClock(date - Date.now())
    if (response.ok) return response
    throw statusFault(action, response.status, await response.text())
  } catch (error) {
    throw connectionFault(action, error)
  }
}

async function bodyOf(action: string, response: Response): Promise<string> {
  try {
    return await response.text()
  } catch (error) {
    throw connectionFault(action, error)
  }
}

/** Throws the fault of an ERROR event, which carries a Status: 410 if the resource version is too old. */
function eventOf(action: string, line: string): WatchEvent {
  const event = parse(action, line) as { type?: string; object?: { code?: number; message?: string } }
  if (event.type !== 'ERROR') return event as WatchEvent
  throw statusFault(action, event.object?.code ?? 500, JSON.stringify(event.object ?? {}))
}

function parse(action: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw apiFault(action, 'broken', 'the answer is not JSON', error)
  }
}

function queryText(query: Query): string {
  const text = new URLSearchParams(query).toString()
  return text ? `?${text}` : ''
}

function within(ms: number): { signal: AbortSignal } {
  return { signal: AbortSignal.timeout(ms) }
}
