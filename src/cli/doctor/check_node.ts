import { isOwnAlias, ownerOfAlias } from '../../attachment/alias.ts'
import type { Link } from '../../kernel/kernel.ts'
import type { CommandContext } from '../command.ts'
import { newPod } from '../former_ranges.ts'
import type { NetworkFile } from '../networks.ts'
import { drifted, type NodeView, podName, stale } from '../node_view.ts'
import { counted } from '../screen.ts'
import { kernelFeatures } from '../status.ts'
import { named } from './check_networks.ts'
import { checkUplinks } from './check_uplinks.ts'
import { error, type Finding, warning } from './finding.ts'

/** Where systemd-networkd and NetworkManager keep what they do with a link, by its index. */
const NETWORK_DAEMONS = [
  {
    name: 'systemd-networkd',
    dir: '/run/systemd/netif/links',
    manages: /^ADMIN_STATE=(?!unmanaged)\w/m,
    hint: `printf '[Match]\\nName=veth* LINKS\\n[Link]\\nUnmanaged=yes\\n' >/etc/systemd/network/05-bowline.network && networkctl reload`,
  },
  {
    name: 'NetworkManager',
    dir: '/run/NetworkManager/devices',
    manages: /^managed=true/m,
    hint: `printf '[keyfile]\\nunmanaged-devices=interface-name:veth*;LINKS\\n' >/etc/NetworkManager/conf.d/05-bowline.conf && nmcli general reload`,
  },
]

/** Returns what is wrong with the node, whatever its networks are. */
export function checkNode(
  context: CommandContext,
  networks: readonly NetworkFile[],
  view: NodeView,
): Finding[] {
  const configs = networks.flatMap(({ config }) => config ?? [])
  const bridges = configs.filter(({ mode = 'l2' }) => mode === 'l2').map(({ bridge = 'cni0' }) => bridge)
  const own = view.links.filter(({ alias, name }) => isOwnAlias(alias) || bridges.includes(name))
  const features = kernelFeatures(context)
  const wantsNft = configs.some(({ ipMasq, macspoofchk }) => ipMasq || macspoofchk)
  return [
    ...(wantsNft && !features.nftables
      ? [
          error(
            'kernel',
            'the kernel has no nftables, which ipMasq and macspoofchk need',
            'modprobe nf_tables',
          ),
        ]
      : []),
    ...checkUplinks(context.ports.kernel.host(), own),
    ...(bridges.length > 0 && !features.bridgeNetfilter ? unfilteredBridge(context) : []),
    ...managedLinks(context, own, bridges),
  ]
}

/** Returns what is wrong with attachments, as far as it can be seen from the host. */
export function checkAttachments({ files }: CommandContext, view: NodeView): Finding[] {
  const all = drifted(view)
  const isOff = (one: string) => /is not a port of bridge/.test(one)
  // That a subnet is not masqueraded is found once for its network.
  const isOwn = (one: string) => !isOff(one) && !/is not masqueraded/.test(one)
  const off = all.filter(({ drift }) => drift.some(isOff))
  const broken = all.filter(({ drift }) => drift.some(isOwn))
  const gone = stale(view)
  return [
    ...(off.length > 0
      ? [
          error(
            'port',
            `off their bridge: ${named(off.flatMap(({ link }) => link ?? []))}`,
            'bowline repair --yes',
          ),
        ]
      : []),
    ...broken.slice(0, 3).map(({ record, drift }) => {
      const what = drift.filter(isOwn).join('; ')
      const pod = podName(files, record)
      // A pair that is gone is made again only with the pod.
      const isLost = drift.some((one) => /^host interface \S+ is missing$/.test(one))
      return error('attachment', `${pod}: ${what}`, isLost ? newPod(pod) : 'bowline repair --yes')
    }),
    ...(broken.length > 3
      ? [error('attachment', `and ${broken.length - 3} more pods`, 'bowline repair --yes')]
      : []),
    ...(view.newer > 0
      ? [
          warning(
            'attachment',
            `${counted(view.newer, 'record')} of a later release of Bowline: this one removes none of their pods`,
            'bowline install # the later release, and delete these pods before you go back',
          ),
        ]
      : []),
    ...view.unread.slice(0, 3).map((link) => {
      const owner = ownerOfAlias(link.alias)
      const pod = owner ? podName(files, owner) : link.name
      const message = `the record of ${pod} cannot be read: the pod goes on, and nothing of it can be checked`
      return warning('attachment', message, newPod(pod))
    }),
    ...(gone.length > 0
      ? [warning('stale', `${counted(gone.length, 'attachment')} of pods that are gone`, 'bowline gc --yes')]
      : []),
    ...(view.damaged.length > 0
      ? [
          warning(
            'stale',
            `${counted(view.damaged.length, 'record')} that cannot be read`,
            'bowline gc --yes',
          ),
        ]
      : []),
  ]
}

/** kube-proxy translates addresses of services back only in what the bridge shows to the filters of IP. */
function unfilteredBridge({ ports: { kernel } }: CommandContext): Finding[] {
  if (!kernel.firewall().some(({ name, table }) => /^KUBE-SERVICES/.test(name) || table === 'kube-proxy'))
    return []
  const message =
    'a pod does not reach a service whose pod is on the same bridge: net.bridge.bridge-nf-call-iptables is off'
  return [
    warning(
      'bridge-netfilter',
      message,
      'modprobe br_netfilter; sysctl -w net.bridge.bridge-nf-call-iptables=1',
    ),
  ]
}

function managedLinks(
  { files }: CommandContext,
  own: readonly Link[],
  bridges: readonly string[],
): Finding[] {
  return NETWORK_DAEMONS.flatMap(({ name, dir, manages, hint }) => {
    const known = new Set(files.list(dir))
    const managed = own.filter(
      ({ index }) => known.has(String(index)) && manages.test(files.readForeign(`${dir}/${index}`) ?? ''),
    )
    if (managed.length === 0) return []
    const message = `${name} manages ${named(managed)}, and may take addresses and routes away`
    return [
      warning(
        'managed',
        message,
        hint.replace('LINKS', bridges.join(name === 'NetworkManager' ? ';interface-name:' : ' ')),
      ),
    ]
  })
}
