import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { run } from '../node/private_namespaces.ts'
import type { NodeNumber } from './mesh.ts'

/*
 * A device between a node of mesh.ts and the network. It gets each frame as the node's kernel hands it to a device: with the place of the
 * checksum that is left to do (struct virtio_net_hdr). A sound one does it. A broken one knows nothing of checksums within VXLAN, and sends
 * such a frame as it is. Without a device nobody would notice: a veth hands on what is left to do, and its receiver verifies nothing.
 */
export type UplinkDevice = {
  /** Replaces the device. Frames that are on their way meanwhile are lost. */
  become(kind: 'sound' | 'broken'): void
  /** Ends it; the way of the node is interrupted. */
  end(): void
}

/** Ethernet, IPv4, UDP and VXLAN: what is left to do behind them is of an inner packet. */
const OUTER_BYTES = 14 + 20 + 8 + 8
const PROGRAM = `
import select, socket, struct, sys
SOL_PACKET, PACKET_VNET_HDR, OUTGOING, ALL = 263, 15, 4, 3
NEEDS_CSUM, HEADER = 1, 10

def open_link(name):
    one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL))
    one.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    one.bind((name, ALL))
    return one

def filled(frame, start, offset):
    data = frame[HEADER + start:]
    total = sum(struct.unpack("!%dH" % ((len(data) + 1) // 2), data + bytes(len(data) % 2)))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    at = HEADER + start + offset
    return frame[:at] + struct.pack("!H", (~total & 0xffff) or 0xffff) + frame[at + 2:]

def sent(frame):
    flags, _, _, _, start, offset = struct.unpack_from("<BBHHHH", frame)
    is_left = flags & NEEDS_CSUM and not (sys.argv[1] == "broken" and start >= ${OUTER_BYTES})
    return bytes(HEADER) + (filled(frame, start, offset) if is_left else frame)[HEADER:]

node, network = open_link("node"), open_link("network")
print("ready", flush=True)
while True:
    for one in select.select([node, network], [], [])[0]:
        frame, origin = one.recvfrom(70000)
        if origin[2] == OUTGOING: continue
        try:
            if one is node: network.send(sent(frame))
            else: node.send(frame)
        except OSError: pass # the other link is down
`

/** Puts a sound device between a node and the router. No link beside it makes a frame of several segments. */
export async function insertUplinkDevice(n: NodeNumber): Promise<UplinkDevice> {
  const work = mkdtempSync(join(tmpdir(), 'device-'))
  const program = join(work, 'device.py')
  writeFileSync(program, PROGRAM)
  run(`ip netns add device
    ip -n router link set r${n} nomaster; ip -n router link set r${n} netns device name node
    ip -n router link add r${n} type veth peer name network netns device
    ip -n router link set r${n} master ul; ip -n router link set r${n} up
    for link in node network; do ip netns exec device sysctl -qw net.ipv6.conf.$link.disable_ipv6=1; ip -n device link set $link up; done
    for one in 'n${n} eth0' 'router r${n}'; do set -- $one
      ip netns exec $1 ethtool -K $2 tso off gso off tx-udp_tnl-segmentation off tx-udp_tnl-csum-segmentation off >/dev/null; done`)
  const start = (kind: 'sound' | 'broken') =>
    Bun.spawn(['ip', 'netns', 'exec', 'device', 'python3', program, kind], {
      stdout: 'pipe',
      stderr: 'inherit',
    })
  let child = start('sound')
  return {
    become(kind) {
      child.kill('SIGKILL')
      child = start(kind)
    },
    end() {
      child.kill('SIGKILL')
      run('ip netns del device')
      rmSync(work, { recursive: true })
    },
  }
}
