import { formatAddress } from '../../core/address.ts'
import type { LocalNode } from '../backend.ts'
import type { OffloadVerdict } from './offload.ts'
import { WAYS } from './packet.ts'
import type { MeshFinding } from './view.ts'
import { lossOf, stateOf } from './way_health.ts'
import type { Measured } from './ways.ts'

/** What a tunnel adds in the underlay, in bytes, by the family of the underlay. The peer's own addresses tell which. */
const OVERHEAD: Readonly<Record<string, number>> = { vxlan: 50 }
const CONFIG_MAP = 'kubectl -n kube-system edit configmap bowline'

/** Returns what is wrong with the ways to a peer, the cause before its effects, each with what to do. */
export function findingsOf(
  peer: string,
  all: readonly Measured[],
  node: LocalNode,
  offload?: OffloadVerdict,
): MeshFinding[] {
  const of = (network: string) => all.filter(({ index }) => WAYS[index]?.network === network)
  const [underlay, pods] = [of('underlay'), of('pods')]
  const answers = (one: Measured) => ['ok', 'lossy', 'small'].includes(stateOf(one.health))
  const isSilent = (one: Measured) => stateOf(one.health) === 'silent'
  if (all.some(({ health }) => stateOf(health) === 'noAgent')) return [noAgent(peer)]
  const silent = all.filter(isSilent)
  if (silent.length > 0 && !all.some(answers)) return [unreachable(peer, silent, node)]
  return [
    ...(offload === 'broken' ? [offloadBroken(peer, node)] : []),
    ...pods
      .filter((one) => isSilent(one) && !(offload === 'broken' && one.way.path === 'vxlan'))
      .map((one) =>
        offload === 'works' && one.way.path === 'vxlan'
          ? answersLost(peer, one, node)
          : podsSilent(peer, one, underlay.find(answers), node),
      ),
    ...underlay.filter(isSilent).map((one) => probesSilent(peer, one, node)),
    ...all
      .filter(({ health }) => stateOf(health) === 'small')
      .slice(0, 1)
      .map((one) => tooSmall(peer, one, node)),
    ...lossy(peer, all),
  ]
}

function noAgent(peer: string): MeshFinding {
  return {
    ...warning(peer),
    message: `node ${peer} is up, but no bowline-agent answers there: its pods go on, and nothing of it is followed`,
    hint: `kubectl -n kube-system get pods -l k8s-app=bowline -o wide --field-selector spec.nodeName=${peer}`,
  }
}

function unreachable(peer: string, silent: readonly Measured[], { config }: LocalNode): MeshFinding {
  const addresses = silent.map(({ way }) => formatAddress(way.destination)).join(', ')
  return {
    ...error(peer),
    message: `node ${peer} does not answer at all (${addresses})`,
    hint: `kubectl get node ${peer} # if it is Ready, let UDP port ${config.probePort} pass between the nodes`,
  }
}

/** The node answers, and packets to its pods do not arrive: what tells the two apart is what is in the way. */
function podsSilent(
  peer: string,
  { way }: Measured,
  answering: Measured | undefined,
  { config }: LocalNode,
): MeshFinding {
  const at = formatAddress(way.destination)
  const node = answering ? formatAddress(answering.way.destination) : 'another of its addresses'
  if (way.path === 'direct') {
    return {
      ...error(peer),
      message: `pods of node ${peer} are not reached (${at}), though it answers at ${node}: something drops packets with the addresses of pods`,
      hint: `Turn off the source/destination check of the cloud for both nodes, or set "backend": "vxlan": ${CONFIG_MAP}`,
    }
  }
  const port = way.path === 'vxlan' ? `UDP port ${config.port} (VXLAN)` : `the packets of ${way.path}`
  return {
    ...error(peer),
    message: `pods of node ${peer} are not reached (${at}), though it answers at ${node}: ${port} is blocked on the way`,
    hint: `Let ${port} pass between ${node} and this node, in both directions: in the nodes' firewalls and the cloud's security group.${way.path === 'vxlan' ? ' bowline doctor on each of them says if it drops what comes from the other.' : ''}`,
  }
}

/** A trial has shown that packets to its pods arrive. */
function answersLost(peer: string, { way }: Measured, { config, addresses }: LocalNode): MeshFinding {
  const own = addresses.map(formatAddress).join(', ')
  return {
    ...error(peer),
    message: `packets to pods of node ${peer} arrive (${formatAddress(way.destination)}), and what comes back in VXLAN does not`,
    hint: `See what bowline doctor says on node ${peer}; let UDP port ${config.port} pass from there to ${own}.`,
  }
}

function offloadBroken(peer: string, { config: { checksumOffload, port } }: LocalNode): MeshFinding {
  return {
    ...error(peer),
    message: `pods of node ${peer} are not reached by TCP and UDP, though by ping: packets whose checksum is left to the device are lost on the way, others are not`,
    hint:
      checksumOffload === 'auto'
        ? 'ethtool -K bowline-vxlan tx-checksum-ip-generic off # as the agent does now'
        : `Set "checksumOffload" in overlay.json to "auto" or "off", or "port" to another one than ${port}: ${CONFIG_MAP}`,
  }
}

function probesSilent(peer: string, { way }: Measured, { config }: LocalNode): MeshFinding {
  const at = formatAddress(way.destination)
  return {
    ...warning(peer),
    message: `node ${peer} does not answer at ${at}, though it does by another way`,
    hint: `Let UDP port ${config.probePort} pass to ${at}: in the firewall of node ${peer} and the cloud's security group.`,
  }
}

function tooSmall(peer: string, { way, health }: Measured, node: LocalNode): MeshFinding {
  const { passes } = health.size
  const isIpv6Underlay = !node.addresses.some(({ family }) => family === 4)
  const overhead = (OVERHEAD[way.path] ?? 0) + (way.path === 'direct' || !isIpv6Underlay ? 0 : 20)
  return {
    check: 'path-mtu',
    level: 'error',
    peer,
    message: `the way to node ${peer} (${formatAddress(way.destination)}, ${way.path}) carries packets of ${passes} bytes and not the ${way.mtu} that this node sends`,
    hint: `Set "underlayMtu": ${passes + overhead} in overlay.json, or raise the MTU on the way: ${CONFIG_MAP}`,
  }
}

function lossy(peer: string, all: readonly Measured[]): MeshFinding[] {
  const worst = all
    .filter(({ health }) => stateOf(health) === 'lossy')
    .sort((a, b) => lossOf(b.health) - lossOf(a.health))[0]
  if (!worst) return []
  const at = formatAddress(worst.way.destination)
  const percent = Math.round(100 * lossOf(worst.health))
  return [
    {
      ...warning(peer),
      message: `${percent} % of the last probes to node ${peer} (${at}, ${worst.way.path}) got no answer`,
      hint: `ip -s link; ping -i 0.2 -c 100 ${at}`,
    },
  ]
}

function error(peer: string): Pick<MeshFinding, 'check' | 'level' | 'peer'> {
  return { check: 'mesh', level: 'error', peer }
}

function warning(peer: string): Pick<MeshFinding, 'check' | 'level' | 'peer'> {
  return { check: 'mesh', level: 'warning', peer }
}
