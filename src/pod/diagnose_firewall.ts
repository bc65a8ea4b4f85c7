import { addressBytes, bitsOf, type Cidr, type Family, formatCidr, networkOf } from '../core/address.ts'
import { quote } from '../core/shell.ts'
import { distinct, textBytes } from '../core/text.ts'
import {
  CONNTRACK_DNAT,
  ConntrackState,
  type FirewallChain,
  type FirewallFamily,
  type FirewallPacket,
  type Hook,
  type KnownBits,
} from '../kernel/firewall/chain.ts'
import { isDropped } from '../kernel/firewall/outcome.ts'
import type { Kernel, Link } from '../kernel/kernel.ts'
import type { Difference } from '../state/explain.ts'
import { familiesOf, forwardedFamilies, type PodSpec } from './spec.ts'
import type { Uplink } from './uplink.ts'

/*
 * Packet filters of other programs. A packet is described by what is the same for all pods of the network, so that a rule
 * for this one pod is no finding: it is somebody's policy. A filter is named only if it drops every such packet.
 */
const OWN_TABLE = 'bowline'
const LINK_NAME_LENGTH = 16
const VETH = 'veth'
const PROTOCOL_FAMILY = { 4: 2, 6: 10 } as const
const BRIDGE_PROTOCOL_FAMILY = 7
/** Where the addresses and the number of the protocol are in the header of a packet. */
const HEADER = {
  4: { source: 12, destination: 16, transport: 9 },
  6: { source: 8, destination: 24, transport: 6 },
} as const
const HEADER_LENGTH = 40
/** TCP and UDP. */
const TRANSPORTS = [6, 17]
const BRIDGE_FILTERS_IP = { 4: 'bridge/bridge-nf-call-iptables', 6: 'bridge/bridge-nf-call-ip6tables' }

/** Packets of one kind on their way past one hook. */
type Flow = {
  readonly what: string
  /** Undefined: frames of a bridge, whatever they carry. */
  readonly subnet?: Cidr
  readonly hook: Hook
  readonly packet: FirewallPacket
  /** The link that all of it passes, where the addresses may be those of the node. */
  readonly uplink?: string
}

/**
 * Returns each chain that drops all that pods such as this one send or get, with the command that lets it pass. `entry` is
 * the link that carries the pod's gateway, or its host interface.
 */
export function diagnoseFirewall(
  kernel: Kernel,
  spec: PodSpec,
  entry: Link | undefined,
  ways: readonly Uplink[],
): Difference[] {
  const flows = [...routedFlows(spec, entry, ways), ...bridgedFlows(kernel, spec)]
  if (flows.length === 0) return []
  const chains = kernel.firewall().filter(({ table }) => table !== OWN_TABLE)
  return chains.flatMap((chain) => {
    const find = (name: string) => chains.find((one) => one.name === name && isSameTable(one, chain))
    const stopped = flows.flatMap((flow) => {
      if (chain.base?.hook !== flow.hook || !sees(chain.family, flow.subnet)) return []
      return stoppedFlow(flow, (packet) => isDropped(chain, packet, find))
    })
    const [first] = stopped
    if (!first) return []
    const commands = first.subnet
      ? distinct(
          stopped.flatMap((flow) => acceptFlow(chain, flow)),
          (command) => command,
        )
      : acceptPort(chain, spec.hostIfName)
    return [
      { what: `${describe(chain)} drops ${first.what}`, steps: commands.map((command) => ({ command })) },
    ]
  })
}

/** Returns the flow if all of it is dropped, or all of its TCP and UDP: many firewalls let only ICMP pass. */
function stoppedFlow(flow: Flow, drops: (packet: FirewallPacket) => boolean): Flow[] {
  if (drops(flow.packet)) return [flow]
  const { subnet, packet } = flow
  if (!subnet || !TRANSPORTS.every((number) => drops(carrying(packet, subnet, number)))) return []
  return [{ ...flow, what: `${flow.what} by TCP and UDP` }]
}

/** Where there are extension headers IPv6 has the number elsewhere, but TCP and UDP need none. */
function carrying(packet: FirewallPacket, { address: { family } }: Cidr, transport: number): FirewallPacket {
  const value = packet.networkHeader?.value.slice() ?? new Uint8Array(HEADER_LENGTH)
  const known = packet.networkHeader?.known.slice() ?? new Uint8Array(HEADER_LENGTH)
  value[HEADER[family].transport] = transport
  known[HEADER[family].transport] = 0xff
  return { ...packet, networkHeader: { value, known }, transport: byte(transport) }
}

function isSameTable(a: FirewallChain, b: FirewallChain): boolean {
  return a.via === b.via && a.family === b.family && a.table === b.table
}

function sees(family: FirewallFamily, subnet: Cidr | undefined): boolean {
  if (!subnet) return family === 'bridge'
  return family === 'inet' || family === (subnet.address.family === 4 ? 'ip' : 'ip6')
}

/** Returns what the node forwards for the pod: to the uplink and back, and in mode l3 to other pods of the node. */
function routedFlows(spec: PodSpec, entry: Link | undefined, uplinkRoutes: readonly Uplink[]): Flow[] {
  const families = forwardedFamilies(spec)
  return subnetsOf(spec).flatMap((subnet) => {
    const { family } = subnet.address
    if (!families.includes(family)) return []
    const uplinks = uplinkRoutes
      .filter(({ route }) => route.dst.address.family === family)
      .map(({ link }) => link)
    const uplink = uplinks.length === 1 ? uplinks[0] : undefined
    const text = formatCidr(subnet)
    const inside = spec.bridge ? exactly(entry) : ownLink(spec)
    const outside = exactly(uplink)
    const known = { protocolFamily: byte(PROTOCOL_FAMILY[family]) }
    const sent = { ...known, ...input(inside), networkHeader: header(family, { source: subnet }) }
    const seen = { ...known, ...output(outside) }
    const isNew = { conntrackState: word(ConntrackState.new), conntrackStatus: bits(0, CONNTRACK_DNAT) }
    const got = {
      ...known,
      ...output(inside),
      networkHeader: header(family, { destination: subnet }),
      conntrackState: word(ConntrackState.established),
    }
    const inner = {
      ...output(inside),
      networkHeader: header(family, { source: subnet, destination: subnet }),
    }
    // Where the node masquerades, the addresses are its own on that side.
    const masked = uplink && { uplink: uplink.name }
    const what = `what ${text} sends`
    const answers = `the answers to ${text}`
    return [
      { what, subnet, hook: 'forward', packet: { ...sent, ...seen, ...isNew } },
      { what: answers, subnet, hook: 'forward', packet: { ...got, ...input(outside) } },
      { what, subnet, hook: 'prerouting', packet: sent },
      { what: answers, subnet, hook: 'prerouting', packet: { ...known, ...input(outside) }, ...masked },
      { what, subnet, hook: 'postrouting', packet: { ...seen, ...isNew }, ...masked },
      { what: answers, subnet, hook: 'postrouting', packet: got },
      ...(spec.mode === 'l3'
        ? [
            {
              what: `what pods of ${text} send each other`,
              subnet,
              hook: 'forward' as const,
              packet: { ...sent, ...inner, ...isNew },
            },
          ]
        : []),
    ] satisfies Flow[]
  })
}

/** Returns what passes the bridge: filters of family bridge see it, and those of IP where the bridge asks them. */
function bridgedFlows(kernel: Kernel, spec: PodSpec): Flow[] {
  const { bridge } = spec
  const link = bridge && kernel.host().link({ name: bridge.name })
  if (!bridge || !link || spec.ips.length === 0) return []
  const what = `what pods of bridge ${bridge.name} send each other`
  const frame = { protocolFamily: byte(BRIDGE_PROTOCOL_FAMILY) }
  const from = { ...frame, ...input(ownLink(spec)), inputBridge: name(bridge.name) }
  const to = { ...frame, ...output(ownLink(spec)), outputBridge: name(bridge.name) }
  const toGateway = `what pods send to ${bridge.name}`
  return [
    ...(bridge.port.isolated
      ? []
      : [
          { what, hook: 'forward' as const, packet: { ...from, ...to } },
          ...filteredSubnets(kernel, spec, link).map((subnet) => filteredFlow(what, subnet, link)),
        ]),
    { what: toGateway, hook: 'prerouting', packet: from },
    { what: `what pods get from ${bridge.name}`, hook: 'postrouting', packet: to },
    ...(bridge.isGateway
      ? [
          { what: toGateway, hook: 'input' as const, packet: from },
          { what: `what ${bridge.name} sends to pods`, hook: 'output' as const, packet: to },
        ]
      : []),
  ]
}

/** br_netfilter shows them to the hook forward of IP as if they came in and went out by the bridge. */
function filteredFlow(what: string, subnet: Cidr, bridge: Link): Flow {
  const { family } = subnet.address
  const packet = {
    protocolFamily: byte(PROTOCOL_FAMILY[family]),
    ...input(exactly(bridge)),
    ...output(exactly(bridge)),
    networkHeader: header(family, { source: subnet, destination: subnet }),
    conntrackState: word(ConntrackState.new),
  }
  const why = `${BRIDGE_FILTERS_IP[family].replace('/', '.')} is on`
  return { what: `${what} (net.${why})`, subnet, hook: 'forward', packet }
}

function filteredSubnets(kernel: Kernel, spec: PodSpec, { filteredFamilies = [] }: Link): Cidr[] {
  const isFiltered = (family: Family): boolean =>
    filteredFamilies.includes(family) || kernel.host().readSysctl(BRIDGE_FILTERS_IP[family]) === '1'
  const families = familiesOf(spec.ips).filter(isFiltered)
  return subnetsOf(spec).filter(({ address }) => families.includes(address.family))
}

function subnetsOf({ ips }: PodSpec): Cidr[] {
  return distinct(
    ips.map(({ cidr }) => networkOf(cidr)),
    formatCidr,
  )
}

function describe({ via, family, table, name: chain }: FirewallChain): string {
  return via === 'nftables'
    ? `nftables chain ${chain} of table ${family} ${table}`
    : `chain ${chain} of table ${table} of ${legacyTool(family)}`
}

/** Returns the commands that accept the flow in front of all rules of the chain. */
function acceptFlow(chain: FirewallChain, { hook, subnet, uplink }: Flow): string[] {
  if (!subnet) return []
  const isSource = hook !== 'postrouting'
  const isDestination = hook !== 'prerouting'
  const rules = uplink
    ? [isSource ? [`iifname "${uplink}"`, `-i ${uplink}`] : [`oifname "${uplink}"`, `-o ${uplink}`]]
    : [...(isSource ? [acceptedEnd('s', subnet)] : []), ...(isDestination ? [acceptedEnd('d', subnet)] : [])]
  return rules.map(([words, options]) => insertCommand(chain, words ?? '', options ?? ''))
}

/** Returns the match of the source or the destination, in the words of nft and of iptables. */
function acceptedEnd(end: 's' | 'd', subnet: Cidr): [words: string, options: string] {
  const protocol = subnet.address.family === 4 ? 'ip' : 'ip6'
  const text = formatCidr(subnet)
  return [`${protocol} ${end}addr ${text}`, `-${end} ${text}`]
}

function insertCommand(
  { via, family, table, name: chain }: FirewallChain,
  words: string,
  options: string,
): string {
  return via === 'nftables'
    ? `nft ${quote(`insert rule ${family} ${table} ${chain} ${words} accept`)}`
    : `${legacyTool(family)} -t ${table} -I ${chain} ${options} -j ACCEPT`
}

/** Returns the commands that accept frames of the port. A match of the bridge (`meta ibrname`) needs a newer kernel. */
function acceptPort({ family, table, name: chain, base }: FirewallChain, port: string): string[] {
  const fields = {
    prerouting: ['iifname'],
    input: ['iifname'],
    forward: ['iifname', 'oifname'],
    output: ['oifname'],
    postrouting: ['oifname'],
  }
  const insert = `insert rule ${family} ${table} ${chain}`
  return (base ? fields[base.hook] : []).map((field) => `nft ${quote(`${insert} ${field} "${port}" accept`)}`)
}

function legacyTool(family: FirewallFamily): string {
  return family === 'ip6' ? 'ip6tables-legacy' : 'iptables-legacy'
}

/** The known bits of an interface's name and index; none of one that may be any. */
type LinkBits = { readonly name?: KnownBits; readonly index?: KnownBits }

function exactly(link: Link | undefined): LinkBits {
  return link ? { name: name(link.name), index: word(link.index) } : {}
}

/** Returns what the host interfaces of all pods have in common: the beginning of the name. */
function ownLink({ hostIfName }: PodSpec): LinkBits {
  if (!hostIfName.startsWith(VETH)) return {}
  const known = new Uint8Array(LINK_NAME_LENGTH)
  known.fill(0xff, 0, VETH.length)
  return { name: { value: padded(VETH), known } }
}

function input({ name: link, index }: LinkBits): FirewallPacket {
  return { ...(link && { inputLink: link }), ...(index && { inputIndex: index }) }
}

function output({ name: link, index }: LinkBits): FirewallPacket {
  return { ...(link && { outputLink: link }), ...(index && { outputIndex: index }) }
}

function header(family: Family, ends: { readonly source?: Cidr; readonly destination?: Cidr }): KnownBits {
  const value = new Uint8Array(HEADER_LENGTH)
  const known = new Uint8Array(HEADER_LENGTH)
  for (const end of ['source', 'destination'] as const) {
    const cidr = ends[end]
    if (!cidr) continue
    value.set(addressBytes(cidr.address), HEADER[family][end])
    for (let bit = 0; bit < Math.min(cidr.prefix, bitsOf(family)); bit++) {
      const at = HEADER[family][end] + (bit >> 3)
      known[at] = (known[at] ?? 0) | (0x80 >> (bit & 7))
    }
  }
  return { value, known }
}

function name(text: string): KnownBits {
  return whole(padded(text))
}

function padded(text: string): Uint8Array {
  const bytes = new Uint8Array(LINK_NAME_LENGTH)
  bytes.set(textBytes(text).subarray(0, LINK_NAME_LENGTH))
  return bytes
}

function byte(value: number): KnownBits {
  return whole(Uint8Array.of(value))
}

function word(value: number): KnownBits {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, value, true)
  return whole(bytes)
}

/** A word of which only these bits are known. */
function bits(value: number, known: number): KnownBits {
  return { value: word(value).value, known: word(known).value }
}

function whole(value: Uint8Array): KnownBits {
  return { value, known: new Uint8Array(value.length).fill(0xff) }
}
