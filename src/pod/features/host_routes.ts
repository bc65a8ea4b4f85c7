import { parseAddress } from '../../core/address.ts'
import { removeHostRoute } from '../delivery.ts'
import type { NodePorts, PodFeature } from './feature.ts'

/** Removes the routes to single addresses of a pod that `ensureDelivery` has made and written down. */
export function hostRoutes({ kernel }: NodePorts): PodFeature {
  return {
    remove: (_, record) => {
      const { link = '', addresses = [] } = record?.hostRoutes ?? {}
      for (const text of addresses) removeHostRoute(kernel.host(), link, parseAddress(text))
    },
  }
}
