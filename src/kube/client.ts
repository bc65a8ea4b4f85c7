import type { KubeApi, Query, WatchEvent } from './api.ts'
import { apiFault, connectionFault, statusFault } from './api_fault.ts'
import { linesOf } from './lines.ts'

/** How long any other request than a watch may take. */
const TIMEOUT_MS = 15_000

/** Where the API server is, and how we show who we are. Read for each request: both files are replaced while we run. */
export type Credentials = {
  /** `https://10.96.0.1:443` */
  readonly server: string
  readonly readToken: () => Promise<string>
  /** PEM. */
  readonly readAuthority: () => Promise<string>
  /** Told by each answer how far the server's clock is ahead of ours, in ms. */
  readonly onClock?: (skewMs: number) => void
}

type RequestOptions = {
  readonly method?: string
  readonly body?: unknown
  readonly signal: AbortSignal
}

/**
 * The API port over fetch as Bun has it. Each request opens a connection of its own: it is one in four minutes, and a connection that
 * is kept would go on with the certificate authority of yesterday.
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
    const [token, ca] = await Promise.all([readToken(), readAuthority()])
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

/** An ERROR event carries a Status: 410 when the resource version has become too old, 500 when the server gives up. */
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
