import type { Address, Cidr } from '../core/address.ts'
import type { Mac } from '../core/mac.ts'

/** A CNI success result in its newest form; `printResult` turns it into the JSON of the version asked for. */
export type CniResult = {
  readonly interfaces: readonly CniInterface[]
  readonly ips: readonly CniIp[]
  readonly routes: readonly CniRoute[]
  /** Absent: no DNS was configured at all. Present with empty lists: configured to be empty. */
  readonly dns?: CniDns
}

export type CniInterface = {
  readonly name: string
  readonly mac?: Mac
  /** Bytes. */
  readonly mtu?: number
  /** The netns path of CNI_NETNS for an interface in the container; absent on the host. */
  readonly sandbox?: string
  readonly socketPath?: string
  readonly pciID?: string
}

/** Returns the index of the interface of this name in the container, or -1. */
export function podInterfaceOf({ interfaces }: CniResult, ifName: string): number {
  return interfaces.findIndex(({ name, sandbox }) => name === ifName && sandbox)
}

export type CniIp = {
  readonly address: Cidr
  readonly gateway?: Address
  /** Index in `interfaces`. Absent in the result of an IPAM plugin. */
  readonly interface?: number
}

export type CniRoute = {
  readonly dst: Cidr
  readonly gw?: Address
  /** Bytes. */
  readonly mtu?: number
  readonly advmss?: number
  readonly priority?: number
  readonly table?: number
  readonly scope?: number
}

export type CniDns = {
  readonly nameservers?: readonly string[]
  readonly domain?: string
  readonly search?: readonly string[]
  readonly options?: readonly string[]
}
