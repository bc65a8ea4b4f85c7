import { readFileSync } from 'node:fs'
import type { Mesh } from '../../../src/agent/mesh/mesh.ts'
import type { MeshChange } from '../../../src/agent/mesh/views.ts'
import { createMetrics } from '../../../src/agent/metrics.ts'
import { answer } from '../../../src/agent/serve.ts'
import type { MeshView } from '../../../src/overlay/mesh/view.ts'

const PAGE = readFileSync(new URL('../../../src/agent/mesh/page.html', import.meta.url), 'utf8')

/** The agent's own HTTP, over a mesh that a test makes up. */
export type FakeSite = {
  readonly url: string
  /** Sends a change to all pages that are open. */
  tell(change: MeshChange): void
  /** How many pages listen. */
  listeners(): number
  stop(): Promise<void>
}

export function serveMesh(view: MeshView): FakeSite {
  const listeners = new Set<(change: MeshChange) => void>()
  const mesh: Pick<Mesh, 'view' | 'subscribe'> = {
    view: () => view,
    subscribe(onChange) {
      listeners.add(onChange)
      return () => void listeners.delete(onChange)
    },
  }
  const site = {
    isReady: () => true,
    metrics: createMetrics(),
    mesh: { mesh, page: PAGE, streams: 0 },
  }
  const server = Bun.serve({ hostname: '127.0.0.1', port: 0, fetch: (request) => answer(request, site) })
  return {
    url: `http://127.0.0.1:${server.port}/`,
    tell: (change) => {
      for (const one of listeners) one(change)
    },
    listeners: () => listeners.size,
    stop: () => server.stop(true),
  }
}
