import type { DesiredRoute, OnLink, PlannedRoute } from '../state/desired.ts'

/**
 * RTPROT_*: the origin of our routes, by which they are told apart from those of every other program. Not in the lists of the kernel and
 * of iproute2 (rt_protos), nor that of Calico (80). One number for all releases: a route of another number is never removed.
 */
export const ROUTE_PROTOCOL = 98

/** Returns a route of ours in the main table. */
export function overlayRoute(on: OnLink, route: PlannedRoute): DesiredRoute {
  return { kind: 'route', ...on, route: { ...route, protocol: ROUTE_PROTOCOL }, anyTable: false }
}
