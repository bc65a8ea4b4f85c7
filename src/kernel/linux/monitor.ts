import { Group } from '../netlink/rtnetlink.ts'
import { joinGroups, NETLINK_NETFILTER, NETLINK_ROUTE, openSocket, SOL_SOCKET, setOption } from './net.ts'

const NFNLGRP_NFTABLES = 7
const SO_RCVBUFFORCE = 33
/** Bytes: a burst of some thousand changes fits. When it does not, the kernel says so (ENOBUFS). */
const BUFFER = 4 << 20

/**
 * Opens a socket that gets a message for each change of links, addresses, neighbours, forwarding entries and routes of the namespace of
 * this thread, or of those that belong to some groups. Returns its descriptor: who waits for messages depends on the runtime.
 */
export function openMonitor(groups: readonly number[] = Object.values(Group)): number {
  return openSubscribed(NETLINK_ROUTE, groups)
}

/** Opens the like for nftables. Throws a Fault (EPROTONOSUPPORT) on a kernel without it. */
export function openNftMonitor(): number {
  return openSubscribed(NETLINK_NETFILTER, [NFNLGRP_NFTABLES])
}

function openSubscribed(protocol: number, groups: readonly number[]): number {
  const fd = openSocket(protocol)
  const size = new Uint8Array(4)
  new DataView(size.buffer).setUint32(0, BUFFER, true)
  setOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, size)
  joinGroups(
    fd,
    groups.reduce((mask, group) => mask | (1 << (group - 1)), 0),
  )
  return fd
}
