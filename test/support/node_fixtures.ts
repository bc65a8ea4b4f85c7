import { deriveNames } from '../../src/core/names.ts'
import { L2, L3 } from '../fakes/node.ts'
import {
  type Attachment,
  CONTAINERS,
  INTERFACES,
  NETWORKS,
  type Network,
  type Topology,
} from './node_script.ts'

/*
 * What the scripts of `node_script.ts` are about: two networks with few addresses, and who may be on them.
 */

/** How many addresses each network has. */
export const CAPACITY = 5
export const SUBNETS: Record<Network, string> = { red: '10.1.0.0/29', blue: '10.2.0.0/29' }
export const EVERYBODY: readonly Attachment[] = NETWORKS.flatMap((network) =>
  CONTAINERS.flatMap((container) => INTERFACES.map((ifName) => ({ network, container, ifName }))),
)

/** The configurations of both networks. */
export function networkConfigs(topology: Topology): Record<Network, object> {
  const ipam = (network: Network) => ({
    type: 'bowline-ipam',
    ranges: [[{ subnet: SUBNETS[network] }]],
    routes: [{ dst: '0.0.0.0/0' }],
  })
  const routed = (network: Network) => ({ ...L3, name: network, ipam: ipam(network) })
  const bridged = (network: Network, bridge: string, isGateway: boolean) => ({
    ...L2,
    name: network,
    bridge,
    isGateway,
    ipam: { ...ipam(network), routes: isGateway ? ipam(network).routes : [] },
  })
  switch (topology) {
    case 'one bridge':
      return { red: bridged('red', 'br0', true), blue: bridged('blue', 'br0', false) }
    case 'two bridges':
      return { red: bridged('red', 'br0', true), blue: bridged('blue', 'br1', true) }
    case 'bridge and routed':
      return { red: bridged('red', 'br0', true), blue: routed('blue') }
    case 'both routed':
      return { red: routed('red'), blue: routed('blue') }
  }
}

export function nameOf({ network, container, ifName }: Attachment): string {
  return `${network} ${container} ${ifName}`
}

export function namesOf({ network, container, ifName }: Attachment) {
  return deriveNames({ network, containerId: container, ifName })
}

export function netnsOf(container: Attachment['container']): string {
  return `/var/run/netns/${container}`
}

export function addressOf(network: Network, ip: number): string {
  return SUBNETS[network].replace('0/29', String(ip))
}
