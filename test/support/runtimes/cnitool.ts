import { mkdirSync, writeFileSync } from 'node:fs'
import { execa } from 'execa'
import { CACHE, type Conflist } from '../node/plugin.ts'
import type { Netns } from '../node/sandbox.ts'

/** What the runtime asks of the plugins for one pod. */
export type Asked = {
  /** Such as `portMappings`: goes to `runtimeConfig`, as far as a plugin declares the capability. */
  readonly capabilities?: Record<string, unknown>
  /** CNI_ARGS. */
  readonly args?: string
  /** Default: eth0. */
  readonly ifName?: string
}

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
    { capabilities = {}, args, ifName }: Asked = {},
  ): Promise<string> {
    const { stdout } = await execa(`${CACHE}/bin/cnitool`, [verb, network, netns.path], {
      env: {
        NETCONFPATH: this.#networks,
        CNI_PATH: this.#plugins,
        CAP_ARGS: JSON.stringify(capabilities),
        ...(args && { CNI_ARGS: args }),
        ...(ifName && { CNI_IFNAME: ifName }),
      },
      timeout: 30_000,
    })
    return stdout
  }
}
