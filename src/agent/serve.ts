import type { Metrics } from './metrics.ts'

/** Answers the kubelet's probes, and Prometheus on the same node. */
export function answer(path: string, isReady: boolean, metrics: Metrics): Response {
  switch (path) {
    case '/livez':
      return text(200, 'alive\n')
    case '/readyz':
      return isReady
        ? text(200, 'ready\n')
        : text(503, 'pods of this node do not get a network yet; see the log\n')
    case '/metrics':
      return text(200, metrics.print(), 'text/plain; version=0.0.4; charset=utf-8')
    default:
      return text(404, 'there are /livez, /readyz and /metrics\n')
  }
}

function text(status: number, body: string, type = 'text/plain; charset=utf-8'): Response {
  return new Response(body, { status, headers: { 'Content-Type': type } })
}
