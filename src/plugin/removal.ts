import type { RuntimeMarks } from '../attachment/marks.ts'
import type { AttachmentRecord } from '../attachment/record.ts'
import type { Teardown } from '../attachment/teardown.ts'
import { memberOf } from '../cni/validate.ts'
import type { Pools } from './pools.ts'
import type { Ports } from './ports.ts'
import { attachmentIdOf, type Request, releaseDelegated } from './request.ts'

/** Returns what the runtime says of the interface in a call about it. Whatever `prevResult` is, it stops nothing. */
export function runtimeMarksOf({ config, invocation }: Request): RuntimeMarks {
  const interfaces = memberOf(config.prevResult, 'interfaces')
  const podMacs = (Array.isArray(interfaces) ? interfaces : []).flatMap((one: unknown) => {
    const mac = memberOf(one, 'mac')
    const isPodEnd = memberOf(one, 'name') === invocation.ifName && Boolean(memberOf(one, 'sandbox'))
    // Links without a hardware address of their own show zeros.
    return isPodEnd && typeof mac === 'string' && /[1-9a-f]/i.test(mac) ? [mac.toLowerCase()] : []
  })
  return { netns: invocation.netns, podMacs }
}

/** Returns how all of a recorded attachment is torn down where the runtime has not called DEL for it. */
export function recordedTeardown(
  request: Request,
  record: AttachmentRecord,
  { pools, plugins }: Pick<Ports, 'pools' | 'plugins'>,
): Teardown {
  return {
    id: record,
    record,
    freeLeases: () => pools.release(record),
    callDelegate: () => releaseDelegated(request, plugins, record),
  }
}

/**
 * Returns how an attachment is torn down that has no sound record: another plugin made it, or its record is lost. Without
 * IPAM in the config the interface may be an earlier plugin's of the same list, and this plugin only connected it: then
 * only what is derived shows what is ours.
 */
export function unrecordedTeardown(request: Request, pools: Pools): Teardown {
  const id = attachmentIdOf(request)
  const { ipam } = request.config
  const runtime = runtimeMarksOf(request)
  if (ipam?.type === undefined) return { id, runtime: { ...runtime, podMacs: [] } }
  const { containerId, ifName } = id
  // We leased them, or host-local did under a plugin that we replaced.
  const leased = () =>
    pools
      .view(id.network, ipam.dataDir)
      .owners()
      .filter((one) => one.containerId === containerId && (one.ifName ?? ifName) === ifName)
      .map(({ address }) => address)
  return { id, runtime, leased }
}
