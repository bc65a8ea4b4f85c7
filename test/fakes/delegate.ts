import type { PluginRunner } from '../../src/cni/delegate.ts'
import { Fault } from '../../src/core/errors.ts'
import type { Steps } from './kernel/steps.ts'

export const DELEGATE = 'strict-ipam'
export const DELEGATE_PATH = '/opt/cni/bin'

/**
 * An IPAM plugin that is another program, as strict as host-local: who holds an address already gets an error, and GC
 * is nothing to it. It outlives a kill of whoever called it.
 */
export type FakeDelegate = {
  readonly runner: PluginRunner
  /** Who holds what: `network container interface` by address. */
  readonly leases: Map<string, string>
}

/**
 * Programs that can be delegated to: what each prints. One that throws a Fault fails as a plugin does. An errno stands for
 * an executable file that can't be started.
 */
export type FakePlugins = Record<string, FakePlugin | string>

type FakePlugin = (env: Readonly<Record<string, string>>, stdin: string) => object

/** The plugin, and others beside it. A call is a step: what a hook throws there, `Killed` apart, is their own failure. */
export function createFakeDelegate(steps: Steps, others: FakePlugins): FakeDelegate {
  const leases = new Map<string, string>()
  const own: FakePlugins = { [DELEGATE]: (env, stdin) => answer(leases, env, stdin) }
  const at = (path: string) => {
    const name = path.replace(`${DELEGATE_PATH}/`, '')
    return own[name] ?? others[name]
  }
  return {
    leases,
    runner: {
      isExecutable: (path) => at(path) !== undefined,
      run(path, env, stdin) {
        const plugin = at(path)
        if (typeof plugin === 'string') throw new Fault(`start plugin ${path}: ${plugin}`, { errno: plugin })
        try {
          const printed = steps.run(`${path} ${env['CNI_COMMAND']}`, () => plugin?.(env, stdin))
          return { exitCode: 0, stdout: JSON.stringify(printed) }
        } catch (error) {
          if (!(error instanceof Fault)) throw error
          return { exitCode: 1, stdout: JSON.stringify({ code: error.code, msg: error.message }) }
        }
      },
    },
  }
}

function answer(leases: Map<string, string>, env: Readonly<Record<string, string>>, stdin: string): object {
  const command = env['CNI_COMMAND']
  const owner = `${JSON.parse(stdin).name} ${env['CNI_CONTAINERID']} ${env['CNI_IFNAME']}`
  const held = [...leases].filter(([, holder]) => holder === owner).map(([address]) => address)
  if (command === 'DEL') for (const address of held) leases.delete(address)
  if (command === 'CHECK' && held.length === 0) throw new Fault(`${owner} holds no address`)
  if (command !== 'ADD') return {}
  if (held.length > 0) throw new Fault(`duplicate allocation for ${owner}`)
  const address = Array.from({ length: 250 }, (_, i) => `10.9.0.${i + 2}`).find((one) => !leases.has(one))
  if (!address) throw new Fault('no address left')
  leases.set(address, owner)
  const ips = [{ address: `${address}/24`, gateway: '10.9.0.1' }]
  return { cniVersion: '1.1.0', ips, routes: [{ dst: '0.0.0.0/0' }] }
}
