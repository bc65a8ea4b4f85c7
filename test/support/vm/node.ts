import { quote } from '../../../src/core/shell.ts'
import { environmentOf, type PluginCall, type PluginOutput } from '../node/plugin.ts'
import { parseRuleset, type Residue, residueOf } from '../node/sandbox.ts'
import type { Vm } from './machine.ts'

/** Where the plugins are in a virtual machine, ours and the reference plugins. */
const PLUGINS = '/opt/cni/bin'

export type VmPluginCall = Omit<PluginCall, 'calledAs' | 'cniPath' | 'program'> & {
  /** The name of the plugin, `bowline` unless told otherwise. */
  readonly plugin?: string
}

export type VmPluginAnswer = {
  readonly exitCode: number
  readonly stdout: string
  /** stdout as JSON; an empty object when nothing was printed. */
  readonly output: PluginOutput
}

/** Calls a plugin in the machine, as `runPlugin` does here. */
export async function runPluginIn(vm: Vm, call: VmPluginCall): Promise<VmPluginAnswer> {
  const { plugin = 'bowline', config, timeoutMs } = call
  const env = environmentOf({ ...call, cniPath: PLUGINS, env: { PATH: '/usr/sbin:/sbin:/bin', ...call.env } })
  const variables = Object.entries(env).map(([name, value]) => quote(`${name}=${value}`))
  const input = typeof config === 'string' ? config : JSON.stringify(config)
  const { exitCode, stdout } = await vm.run(
    `printf %s ${quote(input)} | env -i ${variables.join(' ')} ${PLUGINS}/${plugin}`,
    timeoutMs === undefined ? {} : { timeoutMs },
  )
  return {
    exitCode,
    stdout,
    get output() {
      return JSON.parse(stdout || '{}') as PluginOutput
    },
  }
}

/** The same for a call that must succeed: what it printed. */
export async function callPluginIn(vm: Vm, call: VmPluginCall): Promise<PluginOutput> {
  const { exitCode, stdout, output } = await runPluginIn(vm, call)
  if (exitCode === 0) return output
  throw new Error(`${call.plugin ?? 'bowline'} ${call.command} exited with ${exitCode}: ${stdout}`)
}

/** What of ours is on the machine, as `residue` says it of a node here. A kernel without nftables has no rules to list. */
export async function residueIn(vm: Vm, { nftables = true } = {}): Promise<Residue> {
  const links = JSON.parse(await vm.sh('ip -j -d address'))
  const ruleset = nftables ? parseRuleset(await vm.sh('nft -j list ruleset')) : []
  const files = await vm.sh('cd /var/lib/cni && find . -type f | cut -c 3- | sort')
  return residueOf(links, ruleset, files.split('\n'))
}

/**
 * For a machine in which several calls of nftables come at once before any of its modules is there: that of busybox takes
 * a module that is being loaded for one that is there, unlike the modprobe of distributions.
 */
export const LOAD_NFTABLES = 'modprobe -a nf_tables nft_chain_nat nft_masq'

type ShownPort = {
  readonly ifname: string
  readonly vlans: readonly { vlan: number; flags?: readonly string[] }[]
}

/** The VLANs of a port, as the tool bridge shows them: `100 PVID untagged`, `101` … */
export async function vlansIn(vm: Vm, port: string): Promise<string[]> {
  const shown: ShownPort[] = JSON.parse(await vm.sh('bridge -j vlan show'))
  const vlans = shown.find(({ ifname }) => ifname === port)?.vlans ?? []
  const word = (flag: string) => (flag === 'Egress Untagged' ? 'untagged' : flag)
  return vlans.map(({ vlan, flags = [] }) => [vlan, ...flags.map(word)].join(' '))
}
