import { once } from 'node:events'
import { execa } from 'execa'
import type { Netns } from './sandbox.ts'

/** A program that serves others until it is stopped. */
export type PeerProgram = { stop(): Promise<void> }

/**
 * Starts this text as a program of Bun in a namespace, or beside the node's own programs. It has to print a word when it
 * listens: then the promise is fulfilled.
 */
export async function startPeerProgram(
  netns: Netns | undefined,
  text: string,
  ...words: readonly string[]
): Promise<PeerProgram> {
  const prefix = netns ? ['nsenter', `--net=${netns.path}`, '--'] : []
  const [program = '', ...args] = [...prefix, process.execPath, '-e', text, ...words]
  const server = execa(program, args, { reject: false, killSignal: 'SIGKILL', cwd: '/' })
  // A server that ends before its first output has failed.
  await Promise.race([once(server.stdout, 'data'), server])
  if (server.exitCode !== null) throw new Error(`the server did not start: ${(await server).stderr}`)
  return {
    stop: async () => {
      server.kill('SIGKILL')
      await server
    },
  }
}
