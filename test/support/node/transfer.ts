import { createInterface } from 'node:readline'
import { execa } from 'execa'
import type { Netns } from './sandbox.ts'

export type Transfer = {
  readonly from: Netns | undefined
  readonly to: Netns | undefined
  /** Of `to`. */
  readonly address: string
  readonly protocol: 'tcp' | 'udp'
  /** How long is counted, from the first byte on. */
  readonly ms: number
  /** What is sent by UDP, in bits a second. TCP sends what it can. */
  readonly offered: number
}

const PORT = '47000'

/** Returns how much arrives while a sender does what it can: bits of payload a second. */
export async function measureTransfer({
  from,
  to,
  address,
  protocol,
  ms,
  offered,
}: Transfer): Promise<number> {
  const receiver = program(to, RECEIVER, protocol, `${ms}`, address)
  const lines = createInterface({ input: receiver.stdout })[Symbol.asyncIterator]()
  if ((await lines.next()).value !== 'listening')
    throw new Error(`nobody receives: ${(await receiver).stderr}`)
  const sender = program(from, SENDER, protocol, `${offered}`, address)
  const { value } = await lines.next()
  sender.kill('SIGKILL')
  await Promise.all([sender, receiver])
  if (!(Number(value) > 0)) throw new Error(`nothing arrived: ${(await sender).stderr}`)
  return Number(value)
}

function program(netns: Netns | undefined, text: string, ...words: readonly string[]) {
  const prefix = netns ? ['nsenter', `--net=${netns.path}`, '--'] : []
  const [command = '', ...args] = [...prefix, process.execPath, '-e', text, ...words]
  return execa(command, args, { reject: false, killSignal: 'SIGKILL', cwd: '/', timeout: 60_000 })
}

const RECEIVER = `
  const [protocol, ms, hostname] = process.argv.slice(-3)
  let [bytes, began] = [0, 0]
  const count = (length) => {
    const now = performance.now()
    began ||= now
    bytes += length
    if (now - began < Number(ms)) return
    console.log((bytes * 8000) / (now - began))
    process.exit(0)
  }
  if (protocol === 'tcp') {
    Bun.listen({ hostname, port: ${PORT}, socket: { data: (_, data) => count(data.length) } })
  } else {
    const data = (_, data) => count(data.length)
    await Bun.udpSocket({ hostname, port: ${PORT}, socket: { data } })
  }
  console.log('listening')`

const SENDER = `
  const [protocol, offered, hostname] = process.argv.slice(-3)
  if (protocol === 'tcp') {
    const piece = new Uint8Array(1 << 16)
    const fill = (socket) => {
      while (socket.write(piece) === piece.length);
    }
    await Bun.connect({ hostname, port: ${PORT}, socket: { open: fill, drain: fill, data() {} } })
  } else {
    const piece = new Uint8Array(1200)
    const socket = await Bun.udpSocket({ connect: { hostname, port: ${PORT} } })
    const began = performance.now()
    for (let sent = 0; ; await Bun.sleep(2)) {
      const due = ((performance.now() - began) * Number(offered)) / 8000
      for (; sent < due; sent += piece.length) {
        try {
          socket.send(piece)
        } catch {
          // ENOBUFS: the queue of the limit is full.
        }
      }
    }
  }`
