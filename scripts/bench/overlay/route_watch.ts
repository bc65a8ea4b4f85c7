import { read } from 'node:fs'
import { formatCidr } from '../../../src/core/address.ts'
import { openMonitor } from '../../../src/kernel/linux/monitor.ts'
import { readEvents } from '../../../src/kernel/netlink/events.ts'
import { ROUTE_PROTOCOL } from '../../../src/overlay/route.ts'

/** The routes of the overlay in the network of this process, as the kernel tells of them. */
export type RouteWatch = {
  readonly count: number
  /** Resolves with the time of the last event, once the condition holds. */
  until(isReached: (routes: ReadonlySet<string>) => boolean): Promise<number>
}

const TIMEOUT_MS = 120_000
const MAX_DATAGRAM = 64 << 10

export function watchRoutes(): RouteWatch {
  const routes = new Set<string>()
  const fd = openMonitor()
  const buffer = new Uint8Array(MAX_DATAGRAM)
  let check = (): void => {}
  const next = (): void =>
    read(fd, buffer, 0, buffer.length, null, (error, length) => {
      if (error) throw error
      for (const event of readEvents(buffer.subarray(0, length))) {
        if (event.subject !== 'route') continue
        for (const { dst, protocol } of event.routes) {
          if (protocol !== ROUTE_PROTOCOL) continue
          if (event.isGone) routes.delete(formatCidr(dst))
          else routes.add(formatCidr(dst))
        }
      }
      check()
      next()
    })
  next()
  return {
    get count() {
      return routes.size
    },
    until(isReached) {
      return new Promise((resolve, reject) => {
        const timer = setTimeout(
          () => reject(new Error(`not after ${TIMEOUT_MS} ms; there are ${routes.size} routes`)),
          TIMEOUT_MS,
        )
        check = () => {
          if (!isReached(routes)) return
          check = () => {}
          clearTimeout(timer)
          resolve(performance.now())
        }
        check()
      })
    },
  }
}
