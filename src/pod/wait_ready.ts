import type { Address } from '../core/address.ts'
import type { Kernel, Link, Netns } from '../kernel/kernel.ts'

/** As long as the reference plugin waits for its bridge port. It is over at once, but for a very busy kernel. */
const TIMEOUT_MS = 2000
const STEP_MS = 1

/** Addresses that were added to a namespace. */
export type AddedAddresses = { readonly netns: Netns; readonly addresses: readonly Address[] }

/**
 * Waits until the first packet to a pod, and the first one from it, will pass. Two things the kernel does in its own
 * time: the host end comes up before the pod's and sends nothing until its carrier has been noticed, and an IPv6 address
 * is not known for a local one until a worker of the kernel has seen to it. An ADD does not fail for it: after 2 s
 * nothing more is waited for. One question for the link (since Linux 6.8 asking is what makes the kernel notice), and
 * one for each IPv6 address; more only while the answer is no.
 */
export function settle(kernel: Kernel, hostEnd: Link, added: readonly AddedAddresses[]): void {
  let leftMs = TIMEOUT_MS
  const until = (isOver: () => boolean): void => {
    for (; !isOver() && leftMs > 0; leftMs -= STEP_MS) kernel.pause(STEP_MS)
  }
  until(() => kernel.host().link({ index: hostEnd.index })?.running !== false)
  for (const { netns, addresses } of added) {
    for (const address of addresses.filter(isGlobal6)) until(() => netns.routeTo(address) === undefined)
  }
}

/** A link-local one says nothing without its link. */
function isGlobal6({ family, value }: Address): boolean {
  return family === 6 && value >> 118n !== 0x3fan
}
