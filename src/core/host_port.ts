import { type Address, bracketedAddress, parseAddress } from './address.ts'
import { Fault } from './errors.ts'

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

const MAX_PORT = 65_535

/** Returns `192.0.2.1:8080:80/tcp`: the node's address, its port, the pod's port. The address may be left out. */
export function formatHostPort({ hostIp, hostPort, containerPort, protocol }: HostPort): string {
  return `${hostIp ? `${bracketedAddress(hostIp)}:` : ''}${hostPort}:${containerPort}/${protocol}`
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
  if (formatHostPort(port) === text && port.hostPort <= MAX_PORT && port.containerPort <= MAX_PORT)
    return port
  throw new Fault(`${JSON.stringify(text)} is not a host port`)
}
