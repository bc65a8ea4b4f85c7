import type { NetworkConfig } from '../../../cni/config.ts'
import { type Address, FAMILIES, formatAddress, parseAddress, sameAddress } from '../../../core/address.ts'
import { Code, Fault } from '../../../core/errors.ts'
import { distinct } from '../../../core/text.ts'

/** By their numbers. */
export const PROTOCOLS = { tcp: 6, udp: 17, sctp: 132 } as const

export type Protocol = keyof typeof PROTOCOLS

/** A port of the node that leads to a port of a pod. */
export type HostPort = {
  readonly protocol: Protocol
  /**
   * The address of the node. Zeros are any address of that family; absent, it is any of each family that the pod has. A port of a
   * family that the pod does not have leads nowhere, as with the reference plugin.
   */
  readonly hostIp?: Address
  readonly hostPort: number
  readonly containerPort: number
}

/** Returns the host ports that the runtime asks for, each once. Throws a Fault if one would lead to two ports of the pod. */
export function hostPortsOf({ runtimeConfig }: NetworkConfig): HostPort[] {
  const asked = (runtimeConfig?.portMappings ?? []).map(
    ({ protocol = 'tcp', hostIP, hostPort, containerPort }): HostPort => ({
      protocol,
      ...(hostIP && { hostIp: hostIP }),
      hostPort,
      containerPort,
    }),
  )
  const ports = distinct(asked, formatHostPort)
  const byPort = Map.groupBy(ports, ({ protocol, hostPort }) => `${hostPort}/${protocol}`)
  for (const ofPort of byPort.values()) assertApart(ofPort)
  return ports
}

/** Throws a Fault if two of these, which are the same port of the node, are at one of its addresses. */
function assertApart(ports: readonly HostPort[]): void {
  for (const [i, one] of ports.entries()) {
    const other = ports.slice(0, i).find((before) => hasSamePlace(before, one))
    if (!other) continue
    throw new Fault(
      `key "runtimeConfig.portMappings": ${describePlace(one)} is to lead to ports ${other.containerPort} and ${one.containerPort} of the pod`,
      { code: Code.invalidConfig, hint: 'Remove one of the two.' },
    )
  }
}

function hasSamePlace(a: HostPort, b: HostPort): boolean {
  return placesOf(a).some((one) => placesOf(b).some((other) => sameAddress(one, other)))
}

/** Returns the addresses of the node that a host port is at, with zeros for any address of a family. */
export function placesOf({ hostIp }: HostPort): Address[] {
  return hostIp ? [hostIp] : FAMILIES.map((family) => ({ family, value: 0n }))
}

/** Returns `8080/tcp`, with the address of the node if it is only one. */
export function describePlace({ hostIp, hostPort, protocol }: HostPort): string {
  const port = `${hostPort}/${protocol}`
  return hostIp ? `${bracketed(hostIp)}:${port}` : port
}

/** Returns `192.0.2.1:8080:80/tcp`: the node's address, its port, the pod's port. The address may be left out. */
export function formatHostPort({ hostIp, hostPort, containerPort, protocol }: HostPort): string {
  return `${hostIp ? `${bracketed(hostIp)}:` : ''}${hostPort}:${containerPort}/${protocol}`
}

/** Reads the form of `formatHostPort`. Throws a Fault for any other text. */
export function parseHostPort(text: string): HostPort {
  const [, address, hostPort, containerPort, protocol] =
    /^(?:(\[[^\]]+\]|[\d.]+):)?(\d+):(\d+)\/(tcp|udp|sctp)$/.exec(text) ?? []
  const port: HostPort = {
    protocol: protocol as Protocol,
    ...(address && { hostIp: parseAddress(address.replace(/[[\]]/g, '')) }),
    hostPort: Number(hostPort),
    containerPort: Number(containerPort),
  }
  if (formatHostPort(port) === text) return port
  throw new Fault(`${JSON.stringify(text)} is not a host port`)
}

function bracketed(address: Address): string {
  return address.family === 6 ? `[${formatAddress(address)}]` : formatAddress(address)
}
