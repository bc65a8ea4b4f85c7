import { mkdirSync, writeFileSync } from 'node:fs'
import { execa } from 'execa'
import { CACHE, type Conflist } from './plugin.ts'
import type { Netns } from './sandbox.ts'

/** cnitool, the CNI project's own runtime, with the networks of one directory and the plugins of another. */
export class Cnitool {
  readonly #networks: string
  readonly #plugins: string

  constructor(networks: string, plugins: string) {
    this.#networks = networks
    this.#plugins = plugins
  }

  /** Puts a network where cnitool finds it. */
  define(conflist: Conflist): void {
    mkdirSync(this.#networks, { recursive: true })
    writeFileSync(`${this.#networks}/${conflist.name}.conflist`, JSON.stringify(conflist))
  }

  /** Runs `cnitool VERB NETWORK NETNS`; returns what it printed, and throws with its words when it fails. */
  async run(
    verb: 'add' | 'check' | 'del' | 'gc' | 'status',
    network: string,
    netns: Netns,
    /** Of the runtime, such as `portMappings`. */
    capabilities: Record<string, unknown> = {},
  ): Promise<string> {
    const { stdout } = await execa(`${CACHE}/bin/cnitool`, [verb, network, netns.path], {
      env: {
        NETCONFPATH: this.#networks,
        CNI_PATH: this.#plugins,
        CAP_ARGS: JSON.stringify(capabilities),
      },
      timeout: 30_000,
    })
    return stdout
  }
}
