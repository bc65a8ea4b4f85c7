import type { PoolUse } from '../../ipam/config.ts'
import { poolExhausted } from '../../ipam/pool_errors.ts'
import { poolStats } from '../../ipam/pool_stats.ts'
import type { NetworkConfig } from '../cni/config.ts'
import { type Address, type Family, hostCidr } from '../core/address.ts'
import { isErrno, withAction } from '../core/errors.ts'
import type { Kernel, Netns } from '../kernel/kernel.ts'
import { bridgeFull, findBridge, MAX_BRIDGE_PORTS } from '../pod/bridge.ts'
import { assertIpv6Possible } from '../pod/ipv6.ts'
import { lookupRoutes, nodeAddressesAmong } from '../pod/route_lookup.ts'
import { assertAdvertisementsRefusable } from '../pod/router_advertisements.ts'
import { planSets, poolUseOf } from './addresses.ts'
import { refuseImpossiblePods } from './first_pods.ts'
import { withOwnIpam } from './ipam.ts'
import { bridgeNameOf } from './pod_spec.ts'
import type { Ports } from './ports.ts'
import { delegateOf, OWN_IPAM, type Request, runDelegate } from './request.ts'

/** No link can have this name: its removal changes nothing, and shows whether links may be changed. */
const NO_LINK = 'bowline/status'

type ProbedPorts = Pick<Ports, 'kernel' | 'files' | 'pools'>

/**
 * STATUS: throws a Fault when an ADD could not be served now, or the error of a delegate; `asNotAvailable` makes it code 50
 * or 51. Changes nothing and takes no lock: containerd asks every five seconds and waits for the answer without end.
 */
export function status(request: Request, ports: Ports): void {
  const { config } = request
  const { kernel, store, plugins, features } = ports
  probeLinks(kernel)
  probing(() => store.probe())
  const use = poolUseOf({ mode: config.mode ?? 'l2' })
  const families = config.ipam?.type === OWN_IPAM ? planSets(config, use).map(({ family }) => family) : []
  for (const feature of features) feature.precheck?.(config, families)
  if (config.mode !== 'chained') probeSettings(config, families, kernel.host())
  if (config.mode !== 'l3' && config.mode !== 'chained') refuseFullBridge(config, kernel.host())
  if (config.ipam?.type === OWN_IPAM) {
    refuseFullPool(config, ports, use)
    refuseImpossiblePods(config, ports, use)
  }
  const type = delegateOf(config)
  if (type) runDelegate(request, plugins, type, 'STATUS')
}

/** STATUS as an IPAM plugin: the store and the addresses. */
export function ipamStatus(request: Request, ports: ProbedPorts & Pick<Ports, 'store'>): void {
  probing(() => ports.store.probe())
  refuseFullPool(withOwnIpam(request).config, ports, 'unknown')
}

/** Throws a Fault if links can't be changed. Changes nothing. */
function probeLinks(kernel: Kernel): void {
  withAction(
    'change links of this node',
    () => {
      try {
        kernel.host().apply([{ op: 'removeLink', link: { name: NO_LINK } }])
      } catch (error) {
        if (!isErrno(error, 'ENODEV')) throw error
      }
    },
    { hint: 'Run the container runtime as root with CAP_NET_ADMIN in the network namespace of the host.' },
  )
}

/** Throws a Fault unless the settings of new links below /proc/sys are as an ADD needs them, or can be made so. */
function probeSettings(config: NetworkConfig, families: readonly Family[], host: Netns): void {
  const makesLinks = config.mode === 'l3' || !host.link({ name: bridgeNameOf(config) })
  const hasGateway = config.mode === 'l3' || config.isGateway || config.isDefaultGateway
  if (families.includes(6) && hasGateway && makesLinks) assertIpv6Possible(host)
  if (makesLinks) assertAdvertisementsRefusable(host)
}

function probing(probe: () => void): void {
  withAction('write below the state directory', probe)
}

function refuseFullPool(config: NetworkConfig, { kernel, files, pools }: ProbedPorts, use: PoolUse): void {
  const { name, ipam } = config
  const sets = planSets(config, use)
  probing(() => files.probe(`${pools.dirOf(ipam?.dataDir)}/${name}`))
  const host = kernel.host()
  const ownOf = (addresses: readonly Address[]) =>
    nodeAddressesAmong(host, addresses, lookupRoutes(host, addresses)).map(({ address }) => address)
  const place = pools.place(name, ipam?.dataDir)
  for (const { set, total, held, holdings, own } of poolStats(files, place, sets, ownOf)) {
    if (holdings && BigInt(held) >= total) throw poolExhausted(name, set, holdings, own.map(hostCidr))
  }
}

function refuseFullBridge(config: NetworkConfig, host: Netns): void {
  const name = bridgeNameOf(config)
  const bridge = findBridge(host, { name })
  if (!bridge) return
  const count = host.links().filter(({ master }) => master === bridge.index).length
  if (count >= MAX_BRIDGE_PORTS) throw bridgeFull(name)
}
