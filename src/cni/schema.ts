import * as z from 'zod'
import { FORMATS, type FormatName } from './formats.ts'
import { SUPPORTED_VERSIONS } from './versions.ts'

// The one source of every configuration key. It is not on the plugin path, which uses the rules that scripts/generate.ts
// makes from it: other modules import only types from here.

export type NetworkConfig = z.output<typeof networkConfig>
export type JsonResult = z.output<typeof jsonResult>

const MAX_U32 = 0xffffffff
// A discipline that asks for this length, such as pfifo_fast, allocates 24 bytes for each packet.
const MAX_TX_QUEUE = 1_000_000

// Editors check a text with these patterns; the plugin reads it with src/cni/formats.ts.
const PATTERNS: Record<FormatName, string> = {
  address: '^[0-9A-Fa-f:.]+$',
  addressOrCidr: '^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$',
  cidr: '^[0-9A-Fa-f:.]+/[0-9]{1,3}$',
  network: '^[0-9A-Fa-f:.]+/[0-9]{1,3}$',
  mac: '^([0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{2}(-[0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{4}(\\.[0-9A-Fa-f]{4}){2})$',
  interfaceName: '^[^\\s/:%]{1,15}$',
  networkName: '^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,199}$',
  path: '^/(?!(.*/)?\\.\\.(/|$))',
  pluginName: '^[a-zA-Z0-9][a-zA-Z0-9_.-]*$',
}

const address = formatted('address')
const mac = formatted('mac')
const strings = z.array(z.string())
const vlanId = integer(1, 4094)
const version = z.enum(SUPPORTED_VERSIONS)

const networkName = formatted('networkName').meta({
  description:
    'The name of the network: the same on every node, and unlike that of any other network of the node.',
  examples: ['bowline'],
})

const range = z.object({
  subnet: formatted('cidr').meta({
    description: 'The subnet that addresses are taken from. No host bits may be set.',
    examples: ['10.244.0.0/24', 'fd00:10:244::/64'],
  }),
  rangeStart: optional(address, 'The first address to give. Default: the first of the subnet.'),
  rangeEnd: optional(address, 'The last address to give. Default: the last usable one of the subnet.'),
  gateway: optional(
    address,
    'The gateway; never given to a pod. Default: the first address of the subnet. A subnet of two (/31, /127) has the second in mode l2; in mode l3 it, and one of a single address, has a link-local gateway.',
  ),
})

const rangeSets = z.array(z.array(range))

const jsonRoute = z.object({
  dst: formatted('cidr').meta({ description: 'The destination.', examples: ['0.0.0.0/0', '::/0'] }),
  gw: optional(address, 'The next hop. Default: the gateway of the same address family.'),
  mtu: optional(integer(0, MAX_U32), 'The MTU along this route, in bytes.'),
  advmss: optional(integer(0, MAX_U32), 'The TCP segment size to advertise, in bytes.'),
  priority: optional(integer(0, MAX_U32), 'The metric; a lower one wins.'),
  table: optional(integer(0, MAX_U32), 'The routing table. Default: main (254).'),
  scope: optional(integer(0, 255), 'The scope: 0 global, 253 link, 254 host.'),
})

const ipam = z
  .object({
    type: optional(
      formatted('pluginName'),
      'Who gives the addresses. "bowline-ipam" is built in and needs no second program; any other name is a plugin in CNI_PATH. Without it pods get no address.',
      { examples: ['bowline-ipam', 'host-local'] },
    ),
    ranges: optional(
      rangeSets,
      'A list of range sets. A pod gets one address of each set; the ranges of a set add up.',
    ),
    subnet: optional(range.shape.subnet, 'Short for one set with one range. Better: "ranges".'),
    rangeStart: range.shape.rangeStart,
    rangeEnd: range.shape.rangeEnd,
    gateway: range.shape.gateway,
    routes: optional(z.array(jsonRoute), 'The routes of every pod.'),
    dataDir: optional(
      formatted('path'),
      'Where the leases are kept, one directory a network, in the layout of host-local.',
      { default: '/var/lib/cni/networks' },
    ),
    resolvConf: optional(
      formatted('path'),
      'A file like /etc/resolv.conf, whose settings go into the result as DNS.',
    ),
  })
  .meta({ title: 'Addresses', description: 'How pods get addresses and routes.' })

const dns = z
  .object({
    nameservers: optional(strings, 'Addresses of name servers, the preferred one first.'),
    domain: optional(z.string(), 'The local domain for short names.'),
    search: optional(strings, 'Domains to look up short names in, in this order.'),
    options: optional(strings, 'Options for the resolver.'),
  })
  .meta({
    title: 'DNS',
    description: 'DNS settings for the result. Any member, even an empty list, replaces all that IPAM says.',
  })

const args = z
  .object({
    cni: z
      .object({
        mac: optional(mac, 'The hardware address for the pod. "runtimeConfig.mac" beats it.'),
        ips: optional(z.array(formatted('addressOrCidr')), 'Addresses that the pod must get.'),
        masquerade: optional(z.boolean(), 'false: as the annotation "bowline.io/masquerade".'),
      })
      .exactOptional(),
  })
  .meta({ title: 'Arguments', description: 'What a runtime passes for one pod, by convention below "cni".' })

const portMapping = z.object({
  hostPort: integer(1, 65535).meta({ description: 'The port on the node.' }),
  containerPort: integer(1, 65535).meta({ description: 'The port in the pod.' }),
  protocol: optional(z.enum(['tcp', 'udp', 'sctp']), 'The protocol.', { default: 'tcp' }),
  hostIP: optional(address, 'The address on the node. Default: all.'),
})

const CONDITIONS =
  'Refused unless it is empty: arguments of iptables by which the reference plugin portmap chooses clients.'

const rate = integer(0, Number.MAX_SAFE_INTEGER)
// The reference refuses a bucket of 2^32 - 1 bytes and more.
const burst = integer(0, MAX_U32 * 8 - 1)

const bandwidthKeys = {
  ingressRate: optional(rate, 'What the pod may receive, in bits a second; 0 is no limit.'),
  ingressBurst: optional(
    burst,
    'What the pod may receive at once after a pause, in bits. 4294967295, which runtimes send, is 10 ms of the rate.',
  ),
  egressRate: optional(rate, 'What the pod may send, in bits a second; 0 is no limit.'),
  egressBurst: optional(burst, 'What the pod may send at once after a pause, in bits; see "ingressBurst".'),
  shapedSubnets: optional(
    z.array(formatted('cidr')),
    'Only traffic with these subnets is limited. Excludes "unshapedSubnets".',
  ),
  unshapedSubnets: optional(z.array(formatted('cidr')), 'Traffic with these subnets is not limited.'),
}

const annotations = z.object({
  'bowline.io/masquerade': optional(
    z.enum(['true', 'false']),
    '"false": the pod speaks to everybody with its own address, although the network is masqueraded.',
  ),
})

const runtimeConfig = z
  .object({
    mac: optional(mac, 'The hardware address for the pod.'),
    ips: optional(z.array(formatted('addressOrCidr')), 'Addresses that the pod must get.'),
    ipRanges: optional(rangeSets, 'Range sets that come before those of "ipam".'),
    dns: z
      .object({
        // containerd's names (Servers, Searches, Options), which are those of the conventions too.
        servers: strings.exactOptional(),
        searches: strings.exactOptional(),
        options: strings.exactOptional(),
        nameservers: strings.exactOptional(),
        domain: z.string().exactOptional(),
        search: strings.exactOptional(),
      })
      .exactOptional(),
    portMappings: z.array(portMapping).exactOptional(),
    bandwidth: z.object(bandwidthKeys).exactOptional(),
    'io.kubernetes.cri.pod-annotations': annotations.exactOptional(),
  })
  .meta({
    description: 'What the runtime says of one pod, for each capability that the configuration declares.',
  })

const vlanTrunkItem = z.object({
  id: optional(vlanId, 'One VLAN.'),
  minID: optional(vlanId, 'The first VLAN of a range.'),
  maxID: optional(vlanId, 'The last VLAN of a range.'),
})

const attachments = z.array(z.object({ containerID: z.string(), ifname: z.string() })).nullable()

export const networkConfig = z.object({
  cniVersion: version
    .default('0.1.0')
    .meta({ description: 'The version of the CNI specification that this is written for.' }),
  name: networkName,
  type: optional(z.string(), 'The file name of the plugin.'),
  mode: optional(
    z.enum(['l2', 'l3', 'chained']),
    '"l2": pods are ports of a bridge, as with the reference bridge plugin. "l3": no bridge; each pod has a link of its own, and the node routes. "chained": an earlier plugin of the list makes the interface, and this one only adds host ports, limits, masquerading and checks of sources.',
    { default: 'l2' },
  ),
  bridge: optional(formatted('interfaceName'), 'The bridge; made if it is not there. Mode l2.', {
    default: 'cni0',
  }),
  isGateway: flag('Give the bridge the gateway addresses, and let the node forward. Mode l2.'),
  isDefaultGateway: flag('The same as "isGateway", and a default route by it in every pod. Mode l2.'),
  forceAddress: flag('Replace an address of the bridge that is in the way of the gateway address. Mode l2.'),
  ipMasq: flag("Hide the pods behind the node's address when they speak to anything outside their subnet."),
  ipMasqBackend: optional(
    z.enum(['iptables', 'nftables']),
    'Accepted from configurations of the reference plugin. Bowline always uses its own nftables table.',
  ),
  nonMasqueradeCIDRs: optional(
    z.array(formatted('network')),
    'Destinations that see the address of a pod itself; refused without "ipMasq". The subnet of the pod, multicast, and the pods of other nodes of an overlay are always among them. Default: link-local addresses.',
    { examples: [['10.0.0.0/8', '169.254.0.0/16', 'fe80::/10']] },
  ),
  ipMasqFullyRandom: optional(
    z.boolean(),
    'With "ipMasq", choose the source port of each connection at random: two that begin at once never ask for the same. false keeps the port of the pod where it is free.',
    { default: true },
  ),
  snat: optional(
    z.boolean(),
    'For host ports. false: the source of no client changes, and some get no answer: the pod itself, 127.0.0.1, and on a bridge the other pods of the subnet.',
    { default: true },
  ),
  masqAll: flag("For host ports. Hide all their clients behind the node's address."),
  backend: optional(
    z.enum(['iptables', 'nftables']),
    'Accepted from configurations of the reference plugin portmap. Bowline always uses its own nftables table.',
  ),
  markMasqBit: optional(
    integer(0, 31),
    'Accepted from configurations of the reference plugin portmap. Bowline marks no packet.',
  ),
  externalSetMarkChain: optional(
    z.string(),
    'Accepted from configurations of the reference plugin portmap. Bowline marks no packet.',
  ),
  conditionsV4: optional(strings, CONDITIONS),
  conditionsV6: optional(strings, CONDITIONS),
  mtu: optional(
    integer(0, 65535),
    'The MTU of the pod and its link, in bytes. 0 or absent: that of the bridge, at most what the uplink has.',
    { examples: [1450] },
  ),
  txQueueLen: optional(
    integer(1, MAX_TX_QUEUE),
    "The length of the transmit queue of the pod's interface, in packets. Default: the kernel's, 1000 for a veth.",
    { examples: [5000] },
  ),
  hairpinMode: flag(
    'Let a pod reach itself by a service address: its bridge port sends frames back. Mode l2.',
  ),
  promiscMode: flag('Make the bridge promiscuous. "hairpinMode" is better, and excludes it. Mode l2.'),
  vlan: optional(integer(0, 4094), 'The VLAN of the pod, untagged in the pod. 0 is none. Mode l2.', {
    default: 0,
  }),
  vlanTrunk: optional(
    z.array(vlanTrunkItem),
    'VLANs that the pod sees tagged: each {"id"} or {"minID", "maxID"}. Mode l2.',
  ),
  preserveDefaultVlan: flag('Leave VLAN 1 on the bridge port beside "vlan" and "vlanTrunk". Mode l2.'),
  macspoofchk: flag('Drop what a pod on a bridge sends with another hardware address than its own.'),
  ipspoofchk: optional(
    z.boolean(),
    'Drop what a pod sends from another address than its own: IPv4 and IPv6; in mode l2 also in ARP and neighbour discovery. Default: true in mode l3, false in mode l2, as with the reference plugins.',
  ),
  enabledad: flag(
    'Wait until IPv6 has looked for duplicates of the address (1 to 2 s), and fail if there is one. Mode l2.',
  ),
  disableContainerInterface: flag('Leave the pod\'s interface down. Excludes "ipam". Mode l2.'),
  portIsolation: flag('Keep pods of the bridge from reaching each other. Mode l2.'),
  ...bandwidthKeys,
  ipam: ipam.exactOptional(),
  dns: dns.exactOptional(),
  logFile: optional(
    formatted('path'),
    'Each call adds a line to this file, in the format of pino. At 4 MiB it is renamed to FILE.1. Default: no file.',
    { examples: ['/var/log/bowline.log'] },
  ),
  logLevel: optional(
    z.enum(['error', 'info', 'debug', 'trace']),
    'Which calls "logFile" tells of: "error" those that fail, "info" all but STATUS, "debug" these too, "trace" each request to the kernel as well.',
    { default: 'info' },
  ),
  args: args.exactOptional(),
  runtimeConfig: runtimeConfig.exactOptional(),
  capabilities: optional(
    z.record(z.string(), z.unknown()),
    'The capabilities that the runtime is to fill "runtimeConfig" for.',
    { examples: [{ portMappings: true, bandwidth: true, ips: true, mac: true, ipRanges: true, dns: true }] },
  ),
  prevResult: optional(
    z.record(z.string(), z.unknown()),
    'The result of the plugins before this one, or of ADD. Filled in by the runtime.',
  ),
  'cni.dev/valid-attachments': optional(
    attachments,
    'The attachments that GC leaves alone; null and [] are none. Filled in by the runtime. Without it GC removes nothing.',
  ),
  'cni.dev/attachments': optional(
    attachments,
    'The same under its old name; "cni.dev/valid-attachments" beats it.',
  ),
})

const bowlinePlugin = networkConfig
  .omit({
    cniVersion: true,
    name: true,
    runtimeConfig: true,
    prevResult: true,
    'cni.dev/valid-attachments': true,
    'cni.dev/attachments': true,
  })
  .extend({ type: z.literal('bowline').meta({ description: 'The file name of the plugin.' }) })
  .meta({ title: 'Bowline', description: 'Connects pods to the network.' })

const otherPlugin = z
  .object({
    type: z
      .string()
      .regex(/^(?!bowline$)/)
      .meta({ description: 'The file name of the plugin.' }),
  })
  .meta({ title: 'Another plugin', description: 'Any other plugin of the chain; its keys are its own.' })

/** A file in /etc/cni/net.d. */
export const networkConfigList = z
  .object({
    cniVersion: version.default('0.1.0').meta({
      description:
        'The version of the CNI specification. STATUS and GC need 1.1.0; Debian 12 has a containerd that knows 1.0.0.',
    }),
    cniVersions: optional(
      z.array(version),
      'All versions that this list may be used with; the runtime takes the newest it knows.',
    ),
    name: networkName,
    disableCheck: flag('Tell the runtime never to call CHECK.'),
    disableGC: flag('Tell the runtime never to call GC: for a network that two runtimes share.'),
    loadOnlyInlinedPlugins: flag('Tell the runtime to ignore the directory that is named like the network.'),
    plugins: z
      .array(z.union([bowlinePlugin, otherPlugin]))
      .min(1)
      .meta({ description: 'The plugins, in the order of ADD.' }),
  })
  .meta({ title: 'CNI network configuration list', description: 'A network of pods, made by Bowline.' })

const familyIp = z.object({
  ip: formatted('cidr'),
  gateway: address.exactOptional(),
  routes: z.array(jsonRoute).exactOptional(),
})

/** A result of any version: `ip4` and `ip6` before 0.3.0, `interfaces`, `ips` and `routes` from then on. */
export const jsonResult = z.object({
  cniVersion: z.string().exactOptional(),
  interfaces: z
    .array(
      z.object({
        name: z.string().exactOptional(),
        mac: z.string().exactOptional(),
        mtu: integer(0, MAX_U32).exactOptional(),
        sandbox: z.string().exactOptional(),
        socketPath: z.string().exactOptional(),
        pciID: z.string().exactOptional(),
      }),
    )
    .exactOptional(),
  ips: z
    .array(
      z.object({
        address: formatted('cidr'),
        gateway: address.exactOptional(),
        interface: integer(0, MAX_U32).exactOptional(),
      }),
    )
    .exactOptional(),
  routes: z.array(jsonRoute).exactOptional(),
  ip4: familyIp.exactOptional(),
  ip6: familyIp.exactOptional(),
  dns: dns.exactOptional(),
})

/** A text with a format. Its type is the value that `applyRule` makes of the text: zod only checks it. */
export function formatted<Name extends FormatName>(format: Name) {
  type Value = NonNullable<ReturnType<(typeof FORMATS)[Name]['read']>>
  const text = z.string().refine((given) => FORMATS[format].read(given) !== undefined)
  return text.meta({ format, pattern: PATTERNS[format] }) as unknown as z.ZodType<Value, string>
}

export function integer(min: number, max: number) {
  return z.int().min(min).max(max)
}

function flag(description: string) {
  return optional(z.boolean(), description, { default: false })
}

/** A key that may be absent. `more` are other words for editors, such as its default. */
function optional<Schema extends z.ZodType>(schema: Schema, description: string, more: object = {}) {
  return schema.meta({ description, ...more }).exactOptional()
}
