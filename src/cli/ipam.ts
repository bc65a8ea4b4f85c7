import { formatRangeSet } from '../../ipam/range_set.ts'
import { formatAddress } from '../core/address.ts'
import { Code, Fault } from '../core/errors.ts'
import type { Command, CommandContext, Options } from './command.ts'
import { CONF_DIR_OPTION, confDirOf } from './installation.ts'
import { readNetworks } from './networks.ts'
import { viewNode } from './node_view.ts'
import { unknownNetwork } from './options.ts'
import { drawPool, legend } from './pool_map.ts'
import { countOf, formatCount, freeOf, type PoolUsage, plainPool, poolUsage, STATES } from './pool_usage.ts'
import { columnsOf, painter } from './screen.ts'

export const IPAM: Command = {
  summary: 'draw the addresses of a network: used, free, reserved, stale',
  words: ['[NETWORK]'],
  options: CONF_DIR_OPTION,
  examples: [
    ['bowline ipam', 'all networks'],
    ['bowline ipam bowline', 'one'],
    ['bowline ipam --json | jq ".networks[].pools[].addresses"', 'the addresses that are not free'],
  ],
  run: ipam,
}

function ipam(options: Options, context: CommandContext): number {
  const wanted = options['NETWORK']
  const own = readNetworks(confDirOf(options), context.files).filter(({ config }) => config)
  const networks = own.filter(({ name }) => wanted === undefined || name === wanted)
  if (networks.length === 0) {
    const names = own.map(({ name }) => name)
    if (wanted !== undefined && names.length > 0) throw unknownNetwork(wanted, names, confDirOf(options))
    throw new Fault('there is no network of Bowline', {
      code: Code.invalidConfig,
      hint: 'Run bowline install --conf FILE.',
    })
  }
  const view = viewNode(context)
  const usages = networks.map((network) => ({
    network: network.name,
    pools: poolUsage(context, network, view),
  }))
  if (options['json'] !== undefined) {
    const plain = usages.map(({ network, pools }) => ({ network, pools: pools.map(withAddresses) }))
    context.print(JSON.stringify({ networks: plain }))
    return 0
  }
  const paint = painter(context)
  const lines = usages.flatMap(({ network, pools }) => [
    ...(pools.length === 0 ? [`${paint('bold', network)}: another plugin gives its addresses`, ''] : []),
    ...pools.flatMap((pool) => {
      const counts = STATES.map((state) => [countOf(pool, state), state] as const).filter(
        ([count]) => count > 0,
      )
      const words = [
        ...counts.map(([count, state]) => `${count} ${state}`),
        `${formatCount(freeOf(pool))} free`,
      ]
      return [
        `${paint('bold', network)}  ${formatRangeSet(pool.set)}  ${words.join(', ')}`,
        ...drawPool(pool, paint, columnsOf(context)),
        '',
      ]
    }),
  ])
  context.print([...lines, legend(paint)].join('\n'))
  return 0
}

function withAddresses(pool: PoolUsage) {
  const { family } = pool.set
  const addresses = [...pool.states].map(([value, state]) => [formatAddress({ family, value }), state])
  return {
    ...plainPool(pool),
    addresses: Object.fromEntries(addresses) as object,
  }
}
