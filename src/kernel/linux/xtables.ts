import type { Family } from '../../core/address.ts'
import { isErrno } from '../../core/errors.ts'
import { textBytes } from '../../core/text.ts'
import type { FirewallChain } from '../firewall/chain.ts'
import { familyNumber } from '../netlink/changes.ts'
import { decodeInfo, decodeTable, ENTRIES_HEAD, INFO_LENGTH, SIZE_AT } from '../xtables/table.ts'
import { close, readKernelText } from './disk.ts'
import { getOption, openRawSocket } from './net.ts'

/** The file of the tables that a namespace has. A question for a missing table would create it. */
const NAMES = { 4: '/proc/thread-self/net/ip_tables_names', 6: '/proc/thread-self/net/ip6_tables_names' }
/** The tables with rules that may drop forwarded packets. */
const TABLES = ['raw', 'mangle', 'filter', 'security']
/** Of the options: SOL_IP, SOL_IPV6. */
const LEVEL = { 4: 0, 6: 41 }
const GET_INFO = 64
const GET_ENTRIES = 65
/** Another process may change the table between the two questions: EAGAIN. */
const MAX_ATTEMPTS = 5
const MAX_BYTES = 64 * 2 ** 20

/** Returns the chains of the older iptables in the namespace of the calling thread. Skips a table that cannot be read. */
export function legacyChains(): FirewallChain[] {
  return ([4, 6] as const).flatMap((family) => {
    const tables = tableNames(family).filter((name) => TABLES.includes(name))
    return tables.length > 0 ? readTables(family, tables) : []
  })
}

function readTables(family: Family, tables: readonly string[]): FirewallChain[] {
  let fd: number
  try {
    fd = openRawSocket(familyNumber(family))
  } catch (error) {
    // A raw socket needs CAP_NET_RAW, which a hardened runtime may not have.
    if (isErrno(error, 'EPERM', 'EACCES')) return []
    throw error
  }
  try {
    return tables.flatMap((table) => readTable(fd, family, table))
  } finally {
    close(fd)
  }
}

/** Returns none on a kernel without them. */
function tableNames(family: Family): string[] {
  const text = readKernelText(NAMES[family])
  return typeof text === 'string' ? text.split('\n') : []
}

function readTable(fd: number, family: Family, table: string): FirewallChain[] {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const head = named(table, INFO_LENGTH)
    if (getOption(fd, LEVEL[family], GET_INFO, head) < 0) return []
    const info = decodeInfo(head)
    if (info.size > MAX_BYTES) return []
    const all = named(table, ENTRIES_HEAD + info.size)
    new DataView(all.buffer).setUint32(SIZE_AT, info.size, true)
    if (getOption(fd, LEVEL[family], GET_ENTRIES, all) === 0) {
      return decodeTable(family, table, info, all.subarray(ENTRIES_HEAD))
    }
  }
  return []
}

function named(table: string, length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(new ArrayBuffer(length))
  bytes.set(textBytes(table))
  return bytes
}
