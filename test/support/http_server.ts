import { once } from 'node:events'
import { execa } from 'execa'
import type { Netns } from './sandbox.ts'

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

const PROGRAM = `
  const plain = (address) => address.replace(/^::ffff:/, '')
  Bun.serve({
    hostname: '::',
    port: Number(process.argv.at(-1)),
    fetch: (request, server) => new Response(plain(server.requestIP(request).address) + '\\n'),
  })
  console.log('listening')`
