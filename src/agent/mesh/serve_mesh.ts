import { NO_MESH } from '../../overlay/mesh/view.ts'
import type { Mesh } from './mesh.ts'
import type { MeshChange } from './views.ts'

export type MeshSite = {
  /** Undefined where no overlay is configured. */
  readonly mesh: Pick<Mesh, 'view' | 'subscribe'> | undefined
  /** The HTML of the page. */
  readonly page: string
  /** How many pages are told of changes. */
  streams: number
}

/** Each open page is a stream, and holds memory of the agent. */
const MAX_STREAMS = 8
/** Changes that wait for a page to read them. */
const MAX_WAITING = 100
/** A stream without a line for ten seconds is closed by the server. */
const HEARTBEAT_MS = 5000
/** A browser that is told of an end comes again after this time. */
const RETRY_MS = 2000

const HEADERS = {
  'Cache-Control': 'no-store',
  'X-Content-Type-Options': 'nosniff',
  // All of the page is in its one file; nothing may frame it.
  'Content-Security-Policy':
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
}

/** Answers what belongs to the mesh; undefined for any other path. */
export function answerMesh(path: string, signal: AbortSignal, site: MeshSite): Response | undefined {
  switch (path) {
    case '/':
      return new Response(site.page, { headers: { ...HEADERS, 'Content-Type': 'text/html; charset=utf-8' } })
    case '/mesh':
      return Response.json(site.mesh?.view() ?? NO_MESH, { headers: HEADERS })
    case '/mesh/events':
      if (site.streams >= MAX_STREAMS) {
        return new Response(`there are ${MAX_STREAMS} pages open already\n`, {
          status: 503,
          headers: HEADERS,
        })
      }
      return new Response(eventStream(signal, site), {
        headers: { ...HEADERS, 'Content-Type': 'text/event-stream' },
      })
    default:
      return undefined
  }
}

/** The whole view first, then each change. Source: the HTML standard, server-sent events. */
function eventStream(signal: AbortSignal, site: MeshSite): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder()
  let end = (): void => undefined
  return new ReadableStream({
    start(controller) {
      site.streams++
      const send = (text: string) => {
        // Of a page that does not read, no more is kept.
        if ((controller.desiredSize ?? 0) < -MAX_WAITING) return end()
        controller.enqueue(encoder.encode(text))
      }
      const tell = (change: MeshChange) => send(`data: ${JSON.stringify(change)}\n\n`)
      const unsubscribe = site.mesh?.subscribe(tell)
      const timer = setInterval(() => send(': \n\n'), HEARTBEAT_MS)
      end = () => {
        end = () => undefined
        clearInterval(timer)
        unsubscribe?.()
        site.streams--
        try {
          controller.close()
        } catch {
          // The reader has closed it.
        }
      }
      signal.addEventListener('abort', () => end())
      send(`retry: ${RETRY_MS}\n\n`)
      tell({ kind: 'view', view: site.mesh?.view() ?? NO_MESH })
    },
    cancel: () => end(),
  })
}
