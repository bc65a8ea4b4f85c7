import { parseArgs } from 'node:util'
import { enterSandbox } from '../../../test/support/node/sandbox.ts'
import { measureScale, type ScaleResult, type Spread } from './scale.ts'

const HELP = `Measures the overlay: how the agent grows with the cluster, on a real API server.

  npm run bench:overlay -- [OPTIONS]

  --sizes N[,N]    numbers of Node objects; default: 2,100,500,1000,5000
  --changes N      nodes that come and go at each size; default: 30
  --idle SECONDS   how long the idle agent is watched; default: 60
`

const { values } = parseArgs({
  options: {
    sizes: { type: 'string', default: '2,100,500,1000,5000' },
    changes: { type: 'string', default: '30' },
    idle: { type: 'string', default: '60' },
    help: { type: 'boolean', short: 'h' },
  },
})
if (values.help) console.log(HELP)
else {
  enterSandbox()
  console.log('nodes  cold start (CPU)    one node added    deleted          memory  idle CPU  requests')
  const options = {
    sizes: values.sizes.split(',').map(Number),
    changes: Number(values.changes),
    idleSeconds: Number(values.idle),
  }
  await measureScale(options, (result) => console.log(line(result)))
  process.exit(0)
}

function line(result: ScaleResult): string {
  const { nodes, coldMs, coldCpuMs, addedMs, deletedMs, memoryMb, idleCpuPercent, requests } = result
  const spread = ({ median, max }: Spread) => `${median.toFixed(1)} (max ${max.toFixed(1)}) ms`.padEnd(17)
  return [
    `${nodes}`.padStart(5),
    `${(coldMs / 1000).toFixed(2)} s (${(coldCpuMs / 1000).toFixed(2)} s)`.padEnd(18),
    spread(addedMs),
    spread(deletedMs),
    `${memoryMb.toFixed(1)} MB`,
    `${idleCpuPercent.toFixed(3)} %`,
    `${requests}`,
  ].join('  ')
}
