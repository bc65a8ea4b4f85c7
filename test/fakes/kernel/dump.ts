import { formatAddress, formatCidr } from '../../../src/core/address.ts'
import type { FakeLink, FakeRoute, Namespace, VlanTable } from './state.ts'
import { showLink } from './state.ts'
import { changedConf } from './sysctls.ts'

/** Everything in a namespace as sorted plain JSON: equal dumps mean that nothing was left and nothing was lost. */
export type NamespaceDump = {
  readonly links: readonly Record<string, unknown>[]
  readonly routes: readonly string[]
  /** Sysctls that are not as in a fresh namespace. */
  readonly sysctls: Record<string, Record<string, string>>
}

export function dumpNamespace(namespace: Namespace): NamespaceDump {
  const links = [...namespace.links.values()].sort((a, b) => a.index - b.index)
  const confs = [
    ['all', namespace.conf.all],
    ['default', namespace.conf.default],
    ...links.map((link) => [link.name, link.conf] as const),
  ] as const
  const changed = confs.map(([name, conf]) => [name, changedConf(conf)] as const)
  return {
    links: links.map(dumpLink),
    routes: namespace.routes.map((route) => dumpRoute(namespace, route)).sort(),
    sysctls: Object.fromEntries(changed.filter(([, conf]) => Object.keys(conf).length > 0)),
  }
}

function dumpLink(link: FakeLink): Record<string, unknown> {
  const { master, peer, ...shown } = showLink(link)
  return {
    ...shown,
    ...(link.master && { master: link.master.name }),
    ...(link.peer && { peer: link.peer.name, peerNamespace: link.peer.namespace.inode }),
    ...(link.vlan && { vlan: link.vlan.id, parent: link.vlan.parent.name }),
    ...(link.bridge && { vlans: dumpVlans(link.bridge.vlans) }),
    ...(link.port && { portVlans: dumpVlans(link.port.vlans) }),
    addresses: link.addresses
      .map(({ cidr, scope, flags }) => `${formatCidr(cidr)} scope ${scope} flags 0x${flags.toString(16)}`)
      .sort(),
    neighbours: link.neighbours.map(({ address, mac }) => `${formatAddress(address)} ${mac}`).sort(),
  }
}

function dumpVlans(vlans: VlanTable): string[] {
  const sorted = [...vlans].sort(([a], [b]) => a - b)
  return sorted.map(([id, { pvid, untagged }]) => `${id}${pvid ? ' PVID' : ''}${untagged ? ' untagged' : ''}`)
}

function dumpRoute({ links }: Namespace, route: FakeRoute): string {
  const { dst, gateway, linkIndex, source, scope, table, priority, mtu, advmss } = route
  return [
    formatCidr(dst),
    gateway && `via ${formatAddress(gateway)}`,
    `dev ${links.get(linkIndex)?.name}`,
    source && `src ${formatAddress(source)}`,
    `scope ${scope}`,
    `table ${table}`,
    priority && `priority ${priority}`,
    mtu && `mtu ${mtu}`,
    advmss && `advmss ${advmss}`,
  ]
    .filter(Boolean)
    .join(' ')
}
