import type { NetworkConfig } from '../../../cni/config.ts'
import { type Cidr, networkOf } from '../../../core/address.ts'
import type { Qdisc } from '../../../kernel/kernel.ts'

/** What the pod receives (`ingress`) and what it sends (`egress`), as the keys of the config have it. */
export type Direction = 'ingress' | 'egress'
export const DIRECTIONS = ['ingress', 'egress'] as const

/** In bits a second, and bits. */
export type Limit = { readonly rate: number; readonly burst: number }

/** What a pod is held to. The subnets are those of its peers. */
export type Limits = { readonly [direction in Direction]?: Limit } & {
  /** Only traffic with these is limited. */
  readonly shaped: readonly Cidr[]
  /** All but the traffic with these is limited. */
  readonly unshaped: readonly Cidr[]
}

/**
 * Returns what the config, or else the runtime, asks for. Keys of the config replace those of the runtime, as with the
 * reference plugin; subnets of the config hold for the rates of the runtime as well.
 */
export function limitsOf(config: NetworkConfig): Limits | undefined {
  const fromRuntime = config.runtimeConfig?.bandwidth ?? {}
  const isOfConfig = RATES.some((key) => config[key] !== undefined)
  const asked = isOfConfig ? config : fromRuntime
  const ingress = limitOf(asked.ingressRate, asked.ingressBurst)
  const egress = limitOf(asked.egressRate, asked.egressBurst)
  if (!ingress && !egress) return undefined
  const subnets = config.shapedSubnets || config.unshapedSubnets ? config : fromRuntime
  return {
    ...(ingress && { ingress }),
    ...(egress && { egress }),
    shaped: (subnets.shapedSubnets ?? []).map(networkOf),
    unshaped: (subnets.unshapedSubnets ?? []).map(networkOf),
  }
}

const RATES = ['ingressRate', 'ingressBurst', 'egressRate', 'egressBurst'] as const

function limitOf(rate = 0, burst = 0): Limit | undefined {
  return rate > 0 ? { rate, burst } : undefined
}

/*
 * THE BUCKET. Runtimes must name a burst, and a pod's annotations have none: containerd sends 2^32 - 1 bits, CRI-O 2^35 - 9.
 * Taken at its word, a pod limited to 1 Mbit/s would get its first 512 MB as fast as the machine goes. So these two count as
 * not named, and the bucket holds 10 ms of the rate.
 * Measured with TCP and UDP, in both directions: 0.97 to 1.02 of 1 Mbit/s and 0.96 to 1.00 of 1 Gbit/s.
 */
const UNNAMED_BURSTS: readonly number[] = [2 ** 32 - 1, 8 * (2 ** 32 - 1) - 1]
const BUCKET_SECONDS = 0.01
/** Full packets that the bucket holds at least: with less than one, nothing would ever pass. */
const MIN_PACKETS = 10
/** As the reference plugin has it: how long a packet may wait. */
const QUEUE_SECONDS = 0.025
/** The largest packet that the kernel hands over in one piece. It must find room in the queue if it fits into the bucket. */
const MAX_PACKET = 65_536
/** The kernel tells a burst as the time that it takes, in 32 bits of 64 ns. */
const MAX_BUCKET_SECONDS = 200
const MAX_U32 = 2 ** 32 - 1
const ETHERNET_HEADER = 14

/** Returns the discipline that holds a link of this MTU (bytes) to a limit. */
export function tbfOf({ rate, burst }: Limit, mtu: number): Extract<Qdisc, { kind: 'tbf' }> {
  const bytesPerSecond = Math.max(1, Math.floor(rate / 8))
  const packet = mtu + ETHERNET_HEADER
  const usual = Math.max(Math.ceil(bytesPerSecond * BUCKET_SECONDS), MIN_PACKETS * packet)
  const named = Math.max(Math.floor(burst / 8), packet)
  const bucket = UNNAMED_BURSTS.includes(burst)
    ? usual
    : Math.min(named, Math.max(packet, bytesPerSecond * MAX_BUCKET_SECONDS))
  const queue = Math.ceil(bytesPerSecond * QUEUE_SECONDS) + Math.max(usual, Math.min(bucket, 2 * MAX_PACKET))
  return {
    kind: 'tbf',
    rate: bytesPerSecond,
    burst: Math.min(bucket, MAX_U32),
    limit: Math.min(queue, MAX_U32),
  }
}
