import { formatAddress } from '../../core/address.ts'
import { parseHostPort } from '../../core/host_port.ts'
import { distinct } from '../../core/text.ts'
import type { Netns } from '../../kernel/kernel.ts'
import { lookupRoutes } from '../../pod/route_lookup.ts'
import type { CommandContext } from '../command.ts'
import { type NodeView, podName } from '../node_view.ts'
import { type Finding, warning } from './finding.ts'

/**
 * Returns the host ports at addresses that the node does not have. ADD takes them, as the reference plugin does: such an address may
 * come later, as that of a virtual router does.
 */
export function checkHostPorts(host: Netns, { attachments }: NodeView, { files }: CommandContext): Finding[] {
  const asked = attachments
    .filter(({ stale }) => !stale)
    .flatMap(({ record }) =>
      (record.hostPorts?.ports ?? []).flatMap((port) => {
        const { hostIp } = parseHostPort(port)
        return hostIp && hostIp.value !== 0n ? [{ record, port, hostIp }] : []
      }),
    )
  const addresses = asked.map(({ hostIp }) => hostIp)
  const lookup = lookupRoutes(host, distinct(addresses, formatAddress))
  return asked
    .filter(({ hostIp }) => lookup(hostIp)?.type !== 'local')
    .map(({ record, port, hostIp }) => {
      const address = formatAddress(hostIp)
      return warning(
        'host-port',
        `${podName(files, record)}: nobody reaches host port ${port}, as ${address} is no address of this node`,
        `ip address show to ${address} # add it to a link of the node, or give the pod another "hostIP"`,
      )
    })
}
