import { read } from 'node:fs'
import { formatCidr } from '../../../src/core/address.ts'
import type { Netns } from '../../../src/kernel/kernel.ts'
import { createLinuxKernel } from '../../../src/kernel/linux/kernel.ts'
import { openMonitor } from '../../../src/kernel/linux/monitor.ts'
import { readEvents } from '../../../src/kernel/netlink/events.ts'
import { Group } from '../../../src/kernel/netlink/rtnetlink.ts'
import { ROUTE_PROTOCOL } from '../../../src/overlay/route.ts'

/** The routes of the overlay in the network of this process, as the kernel tells of them. */
export type RouteWatch = {
  /** Resolves with the time of the last event, once the condition holds. */
  until(isReached: (routes: ReadonlySet<string>) => boolean): Promise<number>
}

const TIMEOUT_MS = 120_000
const MAX_DATAGRAM = 64 << 10

export function watchRoutes(): RouteWatch {
  const host = createLinuxKernel().host()
  let routes = new Set<string>()
  const fd = openMonitor([Group.routes4, Group.routes6])
  const buffer = new Uint8Array(MAX_DATAGRAM)
  let check = (): void => {}
  const next = (): void =>
    read(fd, buffer, 0, buffer.length, null, (error, length) => {
      // A burst of ten thousand routes is more than fits. What the list has, and events say again, is counted once.
      if (error?.code === 'ENOBUFS') routes = routesOf(host)
      else if (error) throw error
      else take(routes, buffer.subarray(0, length))
      check()
      next()
    })
  next()
  return {
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

function take(routes: Set<string>, datagram: Uint8Array): void {
  for (const event of readEvents(datagram)) {
    if (event.subject !== 'route') continue
    for (const { dst, protocol } of event.routes) {
      if (protocol !== ROUTE_PROTOCOL) continue
      if (event.isGone) routes.delete(formatCidr(dst))
      else routes.add(formatCidr(dst))
    }
  }
}

function routesOf(host: Netns): Set<string> {
  return new Set(host.routesOfProtocol(ROUTE_PROTOCOL).map(({ dst }) => formatCidr(dst)))
}
