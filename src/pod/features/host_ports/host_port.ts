import type { NetworkConfig } from '../../../cni/config.ts'
import { type Address, bracketedAddress, FAMILIES, sameAddress } from '../../../core/address.ts'
import { Code, Fault } from '../../../core/errors.ts'
import { formatHostPort, type HostPort } from '../../../core/host_port.ts'
import { distinct } from '../../../core/text.ts'

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
  return hostIp ? `${bracketedAddress(hostIp)}:${port}` : port
}
