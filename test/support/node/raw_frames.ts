import { createInterface } from 'node:readline'
import { execa } from 'execa'
import { type Netns, runIn } from './sandbox.ts'

/*
 * Ethernet frames as they are, below all that the kernel would say about addresses. Their EtherType is the one for local
 * experiments, which nothing else on a test's network sends.
 */
const ETHER_TYPE = '88b5'

/** Broadcasts a frame with this source out of an interface. */
export async function sendFrame(netns: Netns | undefined, ifName: string, source: string): Promise<void> {
  const frame = `ffffffffffff${source.replaceAll(':', '')}${ETHER_TYPE}`.padEnd(120, '0')
  await send(netns, ifName, Buffer.from(frame, 'hex'))
}

/**
 * Multicasts a router advertisement (RFC 4861) for half an hour, as from a router with the address fe80::bad; with
 * `prefix` one for the addresses of 2001:db8:ad::/64, and no default route.
 */
export async function sendRouterAdvertisement(
  netns: Netns | undefined,
  ifName: string,
  what: 'router' | 'prefix' = 'router',
): Promise<void> {
  const source = Buffer.from('fe800000000000000000000000000bad', 'hex')
  const allNodes = Buffer.from('ff020000000000000000000000000001', 'hex')
  // Type 134, code 0, checksum, hop limit 64, no flags, lifetime 1800 s, no times.
  const router = '86000000400007080000000000000000'
  // Lifetime 0; option 3 of 32 bytes, on-link and autonomous, valid and preferred for 1800 s.
  const prefix = `86000000400000000000000000000000030440c0${'00000708'.repeat(2)}0000000020010db800ad0000${'00'.repeat(8)}`
  const icmp = Buffer.from(what === 'router' ? router : prefix, 'hex')
  const length = icmp.length.toString(16).padStart(4, '0')
  const pseudo = Buffer.concat([source, allNodes, Buffer.from(`0000${length}0000003a`, 'hex'), icmp])
  icmp.writeUInt16BE(checksum(pseudo), 2)
  const ethernet = Buffer.from('33330000000102000000bad086dd', 'hex')
  const ip = Buffer.from(`60000000${length}3aff`, 'hex')
  await send(netns, ifName, Buffer.concat([ethernet, ip, source, allNodes, icmp]))
}

/** The Internet checksum (RFC 1071) of an even number of bytes. */
export function checksum(bytes: Buffer): number {
  let sum = 0
  for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt16BE(at)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return ~sum & 0xffff
}

/** Sends a frame as it is. */
export async function send(netns: Netns | undefined, ifName: string, frame: Buffer): Promise<void> {
  await runIn(netns, process.execPath, '-e', `${SOCKET}${SEND}`, ifName, frame.toString('hex'))
}

/** What an interface hears of such frames, from now on. */
export type Listener = {
  /** Waits for a frame from this source, 10 s at most; returns the sources of all frames until then, in order. */
  hearUntil(source: string): Promise<string[]>
  stop(): Promise<void>
}

export async function listenForFrames(netns: Netns | undefined, ifName: string): Promise<Listener> {
  const prefix = netns ? ['nsenter', `--net=${netns.path}`, '--'] : []
  const [program = '', ...args] = [...prefix, process.execPath, '-e', `${SOCKET}${LISTEN}`, ifName]
  const child = execa(program, args, { reject: false, killSignal: 'SIGKILL', cwd: '/', timeout: 60_000 })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  if ((await lines.next()).value !== 'listening') throw new Error(`nobody listens: ${(await child).stderr}`)
  return {
    async hearUntil(source) {
      const heard: string[] = []
      const deadline = setTimeout(() => child.kill('SIGKILL'), 10_000)
      while (heard.at(-1) !== source) {
        const { value, done } = await lines.next()
        if (done) throw new Error(`no frame from ${source}, only from: ${heard.join(', ') || 'nobody'}`)
        heard.push(value)
      }
      clearTimeout(deadline)
      return heard
    },
    async stop() {
      child.kill('SIGKILL')
      await child
    },
  }
}

/** A packet socket on the interface that the first argument names, for frames of our EtherType. */
const SOCKET = `
  const { dlopen } = require('bun:ffi')
  const { symbols: libc } = dlopen('libc.so.6', {
    socket: { args: ['i32', 'i32', 'i32'], returns: 'i32' },
    bind: { args: ['i32', 'buffer', 'u32'], returns: 'i32' },
    if_nametoindex: { args: ['cstring'], returns: 'u32' },
    send: { args: ['i32', 'buffer', 'u64', 'i32'], returns: 'i64' },
    recv: { args: ['i32', 'buffer', 'u64', 'i32'], returns: 'i64' },
  })
  const [ifName, text] = process.argv.slice(-(process.argv.at(-1).length > 20 ? 2 : 1))
  const type = Buffer.from('${ETHER_TYPE}', 'hex')
  const fd = libc.socket(17, 3, type.readUInt16LE())
  const address = Buffer.alloc(20)
  address.writeUInt16LE(17, 0)
  type.copy(address, 2)
  address.writeInt32LE(libc.if_nametoindex(Buffer.from(ifName + '\\0')), 4)
  if (libc.bind(fd, address, 20) !== 0) throw new Error('bind to ' + ifName)`

const SEND = `
  const frame = Buffer.from(text, 'hex')
  if (Number(libc.send(fd, frame, frame.length, 0)) !== frame.length) throw new Error('send')`

const LISTEN = `
  console.log('listening')
  const frame = Buffer.alloc(2048)
  for (;;) {
    libc.recv(fd, frame, frame.length, 0)
    console.log(frame.toString('hex', 6, 12).match(/../g).join(':'))
  }`
