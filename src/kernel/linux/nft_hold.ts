import { Fault } from '../../core/errors.ts'
import { encodeNftBatch } from '../nftables/batch.ts'
import { hasAny } from '../nftables/expressions/bits_and_ranges.ts'
import { ctState } from '../nftables/expressions/ct.ts'
import { type NftChain, replaceChain } from '../nftables/objects.ts'
import { readBatchNews } from '../nftables/reply.ts'
import { NETLINK_NETFILTER } from './net.ts'
import { type NetlinkSocket, openNetlinkSocket } from './socket.ts'

const MAX_DATAGRAMS = 100

/*
 * The kernel translates packets of connections, also of old ones, only as long as some table has a chain of type nat, and some rule looks
 * at connections. A flush of the whole ruleset ends both for a moment: the answer to a pod is then taken for one to the node, which resets
 * the connection. A table that a program owns is not flushed by others, and goes with the program (Linux 5.12, NFT_TABLE_F_OWNER).
 */
const CHAIN: NftChain = {
  table: { family: 'inet', name: 'bowline-agent', isOwned: true },
  name: 'keeps-connections',
  hook: { type: 'nat', hook: 'postrouting', priority: 101 },
  rules: [[hasAny(ctState, ['invalid'])]],
}

/** Keeps translated connections alive through a flush of the ruleset, from `set(true)` until `set(false)` or the end of the process. */
export type NftHold = { set(isNeeded: boolean): void }

export function createNftHold(): NftHold {
  let socket: NetlinkSocket | undefined
  let isRefused = false
  return {
    set(isNeeded) {
      if (!isNeeded) {
        socket?.close()
        socket = undefined
      } else if (!socket && !isRefused) {
        socket = openHold()
        // An older kernel will not do it later either.
        isRefused = socket === undefined
      }
    },
  }
}

/** Returns the socket that owns the table; undefined where the kernel refuses it. */
function openHold(): NetlinkSocket | undefined {
  let socket: NetlinkSocket | undefined
  try {
    socket = openNetlinkSocket(NETLINK_NETFILTER)
    const { bytes, commandOf } = encodeNftBatch([
      { op: 'ensureTable', table: CHAIN.table },
      ...replaceChain(CHAIN),
    ])
    socket.send(bytes)
    for (let count = 0; count < MAX_DATAGRAMS; count++) {
      const { refusal, over } = readBatchNews(socket.receive(), commandOf.length, 0)
      if (refusal) break
      if (over) return socket
    }
  } catch (error) {
    if (!(error instanceof Fault)) throw error
  }
  socket?.close()
  return undefined
}
