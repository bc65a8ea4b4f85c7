import { type Address, formatAddress } from '../core/address.ts'
import { describeChange } from './describe.ts'
import type { Change, Kernel, Netns } from './kernel.ts'
import { describeNftCommand } from './nftables/describe.ts'
import type { NftCommand } from './nftables/objects.ts'
import type { Nftables } from './nftables.ts'
import type { Traffic } from './traffic.ts'

const KERNEL_REQUESTS = ['firewall', 'bootId', 'pause'] as const satisfies readonly (keyof Kernel)[]

const NFTABLES_REQUESTS = [
  'apply',
  'hasElement',
  'element',
  'hasChain',
  'isDormant',
  'isHooked',
  'elements',
  'probe',
] as const satisfies readonly (keyof Nftables)[]

const TRAFFIC_REQUESTS = ['listeners', 'connections', 'forget'] as const satisfies readonly (keyof Traffic)[]

const NETNS_REQUESTS = [
  'apply',
  'applyAndRead',
  'link',
  'links',
  'addresses',
  'routes',
  'neighbours',
  'advertisedLinks',
  'portVlans',
  'qdiscs',
  'packetFilters',
  'routeTo',
  'routing',
  'defaultRoutes',
  'lookupRoutes',
  'fibEntries',
  'readSysctl',
  'writeSysctl',
  'probeSysctl',
  'checksumOffload',
  'setChecksumOffload',
] as const satisfies readonly (keyof Netns)[]

const MAX_TEXT = 300

/** Told of one request: its words, its time in milliseconds, and the error that it ended with. */
export type TraceRequest = (request: string, ms: number, error?: unknown) => void

/**
 * Makes this kernel, and each namespace that it opens, tell of every request. The objects stay the same: the adapter knows a
 * namespace by its class.
 */
export function traceKernel(kernel: Kernel, now: () => number, tell: TraceRequest): Kernel {
  const traced = new Set<Netns>()
  const trace = (netns: Netns, where: string): Netns => {
    if (!traced.has(netns)) shadow(netns, NETNS_REQUESTS, where)
    traced.add(netns)
    return netns
  }
  const shadow = <T extends object>(target: T, names: readonly (keyof T & string)[], where: string): void => {
    for (const name of names) {
      const original = target[name] as (...args: unknown[]) => unknown
      const value = (...args: unknown[]): unknown => {
        const begin = now()
        const tellEnd = (error?: unknown) => tell(`${where}: ${describe(name, args)}`, now() - begin, error)
        try {
          const answer = original.apply(target, args)
          tellEnd()
          return answer
        } catch (error) {
          tellEnd(error)
          throw error
        }
      }
      Object.defineProperty(target, name, { value })
    }
  }
  shadow(kernel, KERNEL_REQUESTS, 'kernel')
  shadow(kernel.nftables, NFTABLES_REQUESTS, 'nftables')
  shadow(kernel.traffic, TRAFFIC_REQUESTS, 'traffic')
  const [host, openNetns] = [kernel.host, kernel.openNetns]
  return Object.assign(kernel, {
    host: () => trace(host.call(kernel), 'host'),
    openNetns: (path: string) => trace(openNetns.call(kernel, path), path),
  })
}

function describe(name: string, args: readonly unknown[]): string {
  return [name, ...args.map(textOf)].join(' ').slice(0, MAX_TEXT)
}

function textOf(value: unknown): string {
  if (typeof value === 'string') return value
  const [first] = Array.isArray(value) ? (value as readonly object[]) : []
  if (first && 'op' in first) return (value as (Change | NftCommand)[]).map(changeText).join('; ')
  return JSON.stringify(value, (_, part: unknown) => plain(part)) ?? ''
}

function changeText(change: Change | NftCommand): string {
  return isNft(change) ? describeNftCommand(change) : describeChange(change)
}

function isNft(change: Change | NftCommand): change is NftCommand {
  return 'table' in change || 'chain' in change || 'set' in change
}

function plain(value: unknown): unknown {
  if (value instanceof Uint8Array)
    return [...value].map((byte) => byte.toString(16).padStart(2, '0')).join('')
  if (typeof value !== 'object' || value === null) return value
  if ('family' in value && 'value' in value) return formatAddress(value as Address)
  return 'table' in value && 'name' in value ? value.name : value
}
