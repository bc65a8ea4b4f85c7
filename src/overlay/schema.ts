import * as z from 'zod'
import { formatted, integer } from '../cni/schema.ts'

// The one source of every key of overlay.json. The agent uses what scripts/generate.ts makes from it: zod itself would cost every node
// 4.7 MB of private memory.

export const overlayConfig = z
  .strictObject({
    $schema: z.string().exactOptional().meta({ description: 'For editors; not used.' }),
    backend: z.enum(['vxlan', 'direct', 'host-gw', 'none']).default('vxlan').meta({
      description:
        'How nodes reach the pods of other nodes. vxlan: in UDP, over any network. direct: plain routes to nodes on the same link, vxlan to those behind a router. host-gw: plain routes only. none: the network itself leads to the pods; what another backend has made is removed.',
    }),
    vni: integer(1, 0xffffff).default(4242).meta({ description: 'The VXLAN network identifier.' }),
    port: integer(1, 65535).default(4789).meta({
      description:
        'The UDP port of VXLAN, which firewalls must let through between nodes. Some hypervisors take 4789 or 8472 for their own. Packets to it are accepted from nodes of the cluster alone.',
    }),
    // IPv6 in VXLAN over IPv6 needs 70 bytes more than its own least MTU, which is 1280.
    underlayMtu: integer(1350, 65535).exactOptional().meta({
      description:
        'The MTU of the way between nodes, in bytes. Default: that of the link with the address of the node.',
    }),
    checksumOffload: z.enum(['auto', 'on', 'off']).default('auto').meta({
      description:
        'Whether the VXLAN link leaves the checksums of TCP and UDP to the device that sends its packets, which costs least. auto: as long as such packets arrive where others do. off: never. on: always.',
    }),
    probePort: integer(1, 65535).default(19475).meta({
      description: 'The UDP port by which nodes measure each other.',
    }),
    probeIntervalMs: integer(0, 600_000).default(10_000).meta({
      description:
        'In this time, in ms, a node measures one other node, however many there are. 0: it measures none.',
    }),
    nonMasqueradeCIDRs: z
      .array(formatted('network'))
      .default([])
      .meta({
        description:
          "Destinations, beside the pods of the cluster, that see a pod's own address, such as a company network that has a route to the pods.",
        examples: [['10.0.0.0/8', 'fd00::/8']],
      }),
  })
  .meta({ title: 'overlay.json of Bowline: the network between nodes' })

export type OverlayConfig = Omit<z.output<typeof overlayConfig>, '$schema'>
