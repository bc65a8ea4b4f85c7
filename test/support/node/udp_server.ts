import { type PeerProgram, startPeerProgram } from './peer_program.ts'
import { type Netns, runIn } from './sandbox.ts'

/** Starts a server that answers every datagram with this word. */
export function startUdpServer(netns: Netns, port: number, word: string): Promise<PeerProgram> {
  return startPeerProgram(netns, SERVER, `${port}`, word)
}

/**
 * The answer of `address:port`, or '' when none comes within 5 s; a datagram is sent every 200 ms. Always from the same
 * port, so that the kernel takes two calls for one connection.
 */
export async function askByUdp(netns: Netns, address: string, port: number): Promise<string> {
  return (await runIn(netns, process.execPath, '-e', CLIENT, address, `${port}`)).trim()
}

const SERVER = `
  const [port, word] = process.argv.slice(-2)
  const data = (socket, _, port, address) => socket.send(word, port, address)
  await Bun.udpSocket({ hostname: '0.0.0.0', port: Number(port), socket: { data } })
  console.log('listening')`

const CLIENT = `
  const [address, port] = process.argv.slice(-2)
  const data = (_, answer) => {
    console.log(answer.toString())
    process.exit(0)
  }
  const socket = await Bun.udpSocket({ hostname: '0.0.0.0', port: 40000, socket: { data } })
  for (let i = 0; i < 25; i++) {
    socket.send('?', Number(port), address)
    await Bun.sleep(200)
  }
  process.exit(0)`
