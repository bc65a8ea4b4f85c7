import type { AttachmentRecord } from '../../../attachment/record.ts'
import { type Address, contains, parseCidr, sameAddress } from '../../../core/address.ts'
import type { Kernel } from '../../../kernel/kernel.ts'
import type { Connection } from '../../../kernel/traffic.ts'
import type { Claim } from './claims.ts'
import { loopbackOf } from './frame.ts'
import { PROTOCOLS, parseHostPort } from './host_port.ts'

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
  for (const { at, port } of claims) {
    if (port.protocol === 'tcp') continue
    const filter = { family: at.family, protocol: PROTOCOLS[port.protocol], port: port.hostPort }
    const former = traffic
      .connections(filter)
      .filter(({ destination }) => (at.value === 0n ? isOwn(destination) : sameAddress(destination, at)))
    traffic.forget(former)
  }
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
    const ofPod = { family: address.family, answeredBy: address }
    // The kernel cannot look for an address of IPv6: rather a question for each port than an answer for each connection.
    const filters =
      address.family === 4
        ? [ofPod]
        : all.map((one) => ({ ...ofPod, protocol: PROTOCOLS[one.protocol], port: one.hostPort }))
    for (const filter of filters) traffic.forget(traffic.connections(filter).filter(isMeant))
  }
}
