import { Code, Fault } from '../core/errors.ts'
import type { NetworkConfig } from './schema.ts'

/** The keys of a bridge and its ports. Mode l3 has neither. */
const L2_ONLY = [
  'bridge',
  'isGateway',
  'isDefaultGateway',
  'forceAddress',
  'hairpinMode',
  'promiscMode',
  'vlan',
  'vlanTrunk',
  'preserveDefaultVlan',
  'macspoofchk',
  'enabledad',
  'disableContainerInterface',
  'portIsolation',
] as const

// The smallest MTU of IPv4; the kernel refuses a smaller one.
const MIN_MTU = 68

/** Throws a Fault (code 7) if keys that are valid one by one contradict each other. */
export function assertCoherent(config: NetworkConfig): void {
  const { ipam } = config
  if (ipam && !ipam.type && (ipam.ranges || ipam.subnet || ipam.routes))
    refuse('key "ipam.type" is missing', 'Set "ipam.type" to "bowline-ipam", or leave "ipam" out.')
  if (config.mode === 'l3') assertRouted(config)
  if (config.mode === 'chained') assertChained(config)
  if (config.mtu && config.mtu < MIN_MTU) {
    refuse(
      `key "mtu": ${config.mtu} is less than ${MIN_MTU} bytes`,
      'Leave "mtu" out to get what the uplink has.',
    )
  }
  if (config.hairpinMode && config.promiscMode) {
    refuse(
      'keys "hairpinMode" and "promiscMode" are both true',
      'Remove "promiscMode": it duplicates packets.',
    )
  }
  if (config.disableContainerInterface && config.ipam?.type) {
    refuse(
      `key "disableContainerInterface": true leaves no interface for the addresses of "ipam"`,
      'Remove "disableContainerInterface", or remove "ipam".',
    )
  }
  if (config.nonMasqueradeCIDRs?.length && !config.ipMasq) {
    refuse(
      'key "nonMasqueradeCIDRs": without "ipMasq" every destination sees the address of the pod',
      'Set "ipMasq" to true, or remove "nonMasqueradeCIDRs".',
    )
  }
  assertVlans(config)
  assertNoConditions(config)
  assertBandwidth(config)
}

function assertRouted(config: NetworkConfig): void {
  for (const key of L2_ONLY) {
    if (!config[key]) continue
    refuse(
      `key "${key}": ${JSON.stringify(config[key])} has no meaning in mode "l3"`,
      `Remove it, or set "mode" to "l2". In mode "l3" the node is the gateway, and "ipam.routes" says what for.`,
    )
  }
  if (!config.ipam?.type) {
    refuse(
      'key "ipam" is missing: in mode "l3" a pod is reached by its address',
      'Set "ipam.type" to "bowline-ipam".',
    )
  }
}

/** They are words of another program: to leave them out would open ports to clients that must not reach them. */
function assertNoConditions(config: NetworkConfig): void {
  for (const key of ['conditionsV4', 'conditionsV6'] as const) {
    if (!config[key]?.length) continue
    refuse(
      `key "${key}": conditions in the words of iptables or nft have no meaning in Bowline's rules`,
      `Remove "${key}", and let the "hostIP" of the port say by which address clients come; or keep the plugin portmap for it.`,
    )
  }
}

/** What an earlier plugin has made, with its addresses and routes, is not changed. */
function assertChained(config: NetworkConfig): void {
  const present = [...L2_ONLY, 'mtu', 'txQueueLen'].filter((key) => config[key as keyof NetworkConfig])
  const foreign = [...present.filter((key) => key !== 'macspoofchk'), ...(config.ipam?.type ? ['ipam'] : [])]
  if (foreign[0] === undefined) return
  refuse(
    `key "${foreign[0]}" has no meaning in mode "chained": an earlier plugin makes the interface`,
    'Remove it here, or set it in that plugin.',
  )
}

function assertVlans({
  vlan,
  vlanTrunk = [],
  isGateway,
  isDefaultGateway,
  bridge = 'cni0',
}: NetworkConfig): void {
  for (const [i, { id, minID, maxID }] of vlanTrunk.entries()) {
    const path = `vlanTrunk[${i}]`
    const isRange = minID !== undefined && maxID !== undefined
    if ((minID === undefined) !== (maxID === undefined) || (id === undefined && !isRange)) {
      refuse(
        `key "${path}" has neither "id" nor both "minID" and "maxID"`,
        'Write {"id": 100}, or {"minID": 100, "maxID": 200}.',
      )
    }
    if (isRange && minID > maxID)
      refuse(`key "${path}": minID ${minID} is greater than maxID ${maxID}`, 'Swap them.')
    if (vlan && (id === vlan || (isRange && minID <= vlan && vlan <= maxID))) {
      refuse(`key "${path}" has VLAN ${vlan}, which "vlan" sends untagged`, 'Leave it out of "vlanTrunk".')
    }
  }
  const gateway = `${bridge}.${vlan}`
  if (vlan && (isGateway || isDefaultGateway) && gateway.length > 15) {
    refuse(`the gateway's interface "${gateway}" would have more than 15 characters`, 'Shorten "bridge".')
  }
}

function assertBandwidth(config: NetworkConfig): void {
  const { bandwidth } = config.runtimeConfig ?? {}
  for (const [keys, path] of [
    [config, ''] as const,
    [bandwidth ?? {}, 'runtimeConfig.bandwidth.'] as const,
  ]) {
    const { ingressRate, ingressBurst, egressRate, egressBurst, shapedSubnets, unshapedSubnets } = keys
    assertRate(`${path}ingress`, ingressRate, ingressBurst)
    assertRate(`${path}egress`, egressRate, egressBurst)
    if (!shapedSubnets?.length || !unshapedSubnets?.length) continue
    refuse(
      `keys "${path}shapedSubnets" and "${path}unshapedSubnets" are both set`,
      'Keep one: the first limits only what it names, the second all else.',
    )
  }
}

/** Source: the reference bandwidth plugin; a bucket without a rate, or a rate without a bucket, lets nothing pass. */
function assertRate(path: string, rate: number | undefined, burst: number | undefined): void {
  if (Boolean(rate) === Boolean(burst)) return
  const [set, unset] = rate ? ['Rate', 'Burst'] : ['Burst', 'Rate']
  refuse(`key "${path}${set}" is set without "${path}${unset}"`, `Set both, or neither.`)
}

function refuse(message: string, hint: string): never {
  throw new Fault(message, { code: Code.invalidConfig, hint })
}
