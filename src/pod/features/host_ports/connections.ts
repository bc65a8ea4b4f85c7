import type { AttachmentRecord } from '../../../attachment/record.ts'
import { type Address, contains, parseCidr, sameAddress } from '../../../core/address.ts'
import { PROTOCOLS, parseHostPort } from '../../../core/host_port.ts'
import type { Kernel } from '../../../kernel/kernel.ts'
import type { Connection, ConnectionFilter } from '../../../kernel/traffic.ts'
import type { Claim } from './claims.ts'
import { loopbackOf } from './frame.ts'

/*
 * The kernel translates a connection when it begins, and remembers how. What a client of UDP or SCTP sends from one port is one
 * connection for as long as it goes on sending: it would be led for ever to the node itself, or to a pod that is gone (plugins#123).
 * A new connection of TCP begins with a packet that the kernel knows it by.
 */

/** Forgets what was tracked of these ports before they led to the pod. Only what was for an address of this node. */
export function forgetFormer(kernel: Kernel, claims: readonly Claim[]): void {
  const { traffic } = kernel
  let own: readonly Address[] | undefined
  const isOwn = (address: Address): boolean => {
    own ??= kernel
      .host()
      .allAddresses()
      .map(({ cidr }) => cidr.address)
    return (
      own.some((one) => sameAddress(one, address)) ||
      loopbackOf(address.family).some((one) => contains(one, address))
    )
  }
  const places = new Map<string, Place[]>()
  for (const { at, port } of claims) {
    if (port.protocol === 'tcp') continue
    const place = { at, protocol: PROTOCOLS[port.protocol], port: port.hostPort }
    const key = `${at.family} ${port.protocol}`
    places.set(key, [...(places.get(key) ?? []), place])
  }
  for (const ofProtocol of places.values()) {
    const isMeant = ({ destination, port }: Connection): boolean =>
      ofProtocol.some(
        (one) =>
          one.port === port && (one.at.value === 0n ? isOwn(destination) : sameAddress(destination, one.at)),
      )
    for (const filter of filtersFor(ofProtocol)) traffic.forget(traffic.connections(filter).filter(isMeant))
  }
}

type Place = { readonly at: Address; readonly protocol: number; readonly port: number }

/**
 * For each question the kernel walks its whole table, which takes 9 ms of a processor where that has 262,144 buckets: from some ports on
 * an answer for each connection of the protocol costs less.
 */
const MAX_QUESTIONS = 4

/** Returns what to ask for connections to these ports, which are of one family and one protocol. */
function filtersFor(places: readonly Place[]): ConnectionFilter[] {
  const ports = [...new Set(places.map(({ port }) => port))]
  const [first] = places
  if (!first) return []
  const all = { family: first.at.family, protocol: first.protocol }
  return ports.length > MAX_QUESTIONS ? [all] : ports.map((port) => ({ ...all, port }))
}

/** Forgets what was led to the pod by its host ports: nobody is there to answer. */
export function forgetOfPod(
  { traffic }: Kernel,
  { ports, pods }: NonNullable<AttachmentRecord['hostPorts']>,
): void {
  const all = ports.map(parseHostPort)
  const isMeant = ({ protocol, port, destination, answeredBy }: Connection): boolean =>
    !sameAddress(destination, answeredBy) &&
    all.some((one) => PROTOCOLS[one.protocol] === protocol && one.hostPort === port)
  for (const { address } of pods.map(parseCidr)) {
    const filter = { family: address.family, answeredBy: address, isTranslated: true } as const
    traffic.forget(traffic.connections(filter).filter(isMeant))
  }
}
