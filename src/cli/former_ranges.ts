import type { AttachmentRecord } from '../attachment/record.ts'
import type { AttachmentStore } from '../attachment/store.ts'
import type { NetworkConfig } from '../cni/config.ts'
import { contains, formatCidr, networkOf, parseAddress } from '../core/address.ts'
import type { Files } from '../core/files.ts'
import type { Kernel } from '../kernel/kernel.ts'
import { OWN_IPAM } from '../plugin/request.ts'
import type { NetworkFile } from './networks.ts'
import { podName } from './node_view.ts'

/*
 * A node that joins a cluster anew may get other ranges. From its boot until the agent has asked the API server, pods are started by the
 * conflist that is there, which has the former ones: their addresses may be those of pods of another node by now. The plugin cannot know
 * it, and must not refuse: a node that boots while the API server is away is to start its pods, and its ranges are nearly always the same.
 */

/** Pods with addresses that no range of the present config has. */
type FormerPods = { readonly message: string; readonly hint: string; readonly count: number }

/** So many are named, and deleted by the hint. */
const MAX_NAMED = 10

/** Returns the pods of this boot that have such addresses, network by network. */
export function podsOfFormerRanges(
  { kernel, store }: { readonly kernel: Pick<Kernel, 'bootId'>; readonly store: AttachmentStore },
  networks: readonly NetworkFile[],
  files: Files,
): FormerPods[] {
  return networks.flatMap(({ name, config }, i): FormerPods[] => {
    if (!config || networks.findIndex((one) => one.name === name) !== i) return []
    const ranges = rangesOf(config)
    const found = store.list(name).flatMap((record) => {
      const outside = record.bootId === kernel.bootId() ? addressesOutside(record, ranges) : []
      return outside.length > 0 ? [{ pod: podName(files, record), outside }] : []
    })
    if (found.length === 0) return []
    const some = found.slice(0, MAX_NAMED)
    const pods = some.map(({ pod, outside }) => `${pod} (${outside.join(', ')})`)
    const more = found.length - some.length
    const present = ranges.map((range) => formatCidr(range)).join(', ')
    return [
      {
        count: found.length,
        message: `pods of network ${name} have addresses outside of its ranges ${present}, which may be another node's by now: ${pods.join(', ')}${more > 0 ? ` and ${more} more` : ''}`,
        hint: some.map(({ pod }) => newPod(pod)).join(' && '),
      },
    ]
  })
}

/** Returns the command that replaces a pod: by its name, or its sandbox by the beginning of its id. */
export function newPod(pod: string): string {
  const [namespace, name] = pod.split('/')
  return name ? `kubectl delete pod -n ${namespace} ${name}` : `crictl stopp ${pod}`
}

/** None where another plugin gives the addresses, or the runtime names the ranges. */
function rangesOf({ ipam }: NetworkConfig) {
  if (ipam?.type !== OWN_IPAM) return []
  const own = ipam.subnet ? [ipam.subnet] : []
  return [...own, ...(ipam.ranges ?? []).flat().map(({ subnet }) => subnet)].map(networkOf)
}

function addressesOutside(
  { leases }: AttachmentRecord,
  ranges: readonly ReturnType<typeof networkOf>[],
): string[] {
  if (ranges.length === 0) return []
  const isOutside = (text: string) => !ranges.some((range) => contains(range, parseAddress(text)))
  return (leases?.addresses ?? []).filter(isOutside)
}
