import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { execa } from 'execa'
import { type Netns, runIn } from './sandbox.ts'

/** A web server in a namespace that answers every request with the address that the request came from. */
export type PeerServer = { stop(): Promise<void> }

/** Starts the server; it listens, IPv4 and IPv6, when the promise is fulfilled. */
export async function startPeerServer(netns: Netns | undefined, port: number): Promise<PeerServer> {
  const prefix = netns ? ['nsenter', `--net=${netns.path}`, '--'] : []
  const [program = '', ...args] = [...prefix, process.execPath, '-e', PROGRAM, `${port}`]
  const server = execa(program, args, { reject: false, killSignal: 'SIGKILL', cwd: '/' })
  // Its first output is the word that it listens; a server that ends before that has failed.
  await Promise.race([once(server.stdout, 'data'), server])
  if (server.exitCode !== null) throw new Error(`the web server did not start: ${(await server).stderr}`)
  return {
    stop: async () => {
      server.kill('SIGKILL')
      await server
    },
  }
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
