import { setTimeout as sleep } from 'node:timers/promises'
import { type PeerProgram, startPeerProgram } from './peer_program.ts'
import { type Netns, runIn } from './sandbox.ts'

/** Starts a web server, IPv4 and IPv6, that answers every request with the address that the request came from. */
export function startPeerServer(netns: Netns | undefined, port: number): Promise<PeerProgram> {
  return startPeerProgram(netns, PROGRAM, `${port}`)
}

/** What a web server answers, trimmed. A server in a container may need a moment until it listens: 5 s at most. */
export async function fetchFrom(netns: Netns | undefined, url: string): Promise<string> {
  const deadline = Date.now() + 5_000
  for (;;) {
    try {
      return (await runIn(netns, 'curl', '-sgf', '-m', '5', url)).trim()
    } catch (error) {
      if (Date.now() > deadline) throw error
      await sleep(50)
    }
  }
}

const PROGRAM = `
  const plain = (address) => address.replace(/^::ffff:/, '')
  Bun.serve({
    hostname: '::',
    port: Number(process.argv.at(-1)),
    fetch: (request, server) => new Response(plain(server.requestIP(request).address) + '\\n'),
  })
  console.log('listening')`
