import type { PodFeature } from './feature.ts'

/** Sets how many packets may wait in the transmit queue of the pod's interface, where a queueing discipline asks for it. */
export function txQueueLength(): PodFeature {
  return {
    podKeys: ['txQueueLen'],
    podEnd: ({ config: { txQueueLen } }, objects) =>
      txQueueLen === undefined
        ? objects
        : objects.map((one) => (one.kind === 'link' ? { ...one, txQueueLength: txQueueLen } : one)),
  }
}
