import { answerMesh, type MeshSite } from './mesh/serve_mesh.ts'
import type { Metrics } from './metrics.ts'

export type Site = {
  readonly isReady: () => boolean
  readonly metrics: Metrics
  /** The mesh, and the page that shows it. */
  readonly mesh: MeshSite
}

/**
 * Answers the kubelet's probes, Prometheus and people on the same node. Only GET, so nothing can be changed; and only by a name of the node
 * itself: a web page of another name that a resolver leads to this port (DNS rebinding) gets nothing.
 */
export function answer({ method, url, headers, signal }: Request, site: Site): Response {
  const host = headers.get('host') ?? ''
  if (!/^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/.test(host)) {
    return text(421, 'ask by 127.0.0.1 or localhost\n')
  }
  if (method !== 'GET' && method !== 'HEAD') return text(405, 'there is only GET\n')
  const { pathname } = new URL(url)
  switch (pathname) {
    case '/livez':
      return text(200, 'alive\n')
    case '/readyz':
      return site.isReady()
        ? text(200, 'ready\n')
        : text(503, 'pods of this node do not get a network yet; see the log\n')
    case '/metrics':
      return text(200, site.metrics.print(), 'text/plain; version=0.0.4; charset=utf-8')
    default:
      return (
        answerMesh(pathname, signal, site.mesh) ??
        text(404, 'there are /, /mesh, /livez, /readyz and /metrics\n')
      )
  }
}

function text(status: number, body: string, type = 'text/plain; charset=utf-8'): Response {
  return new Response(body, { status, headers: { 'Content-Type': type } })
}
