import { parseArgs } from 'node:util'
import { fillPluginDirectory } from '../../../test/support/node/plugin.ts'
import { enterFreshNetwork, run } from '../../../test/support/node/private_namespaces.ts'
import { enterSandbox } from '../../../test/support/node/sandbox.ts'
import { PLUGINS } from '../nodes.ts'
import { tableOf } from '../results.ts'
import { measureDataPath } from './data_path.ts'
import { measureHealing } from './healing.ts'
import { JOIN_GOAL_MS, measureJoin } from './join.ts'
import { measureScale, type ScaleResult } from './scale.ts'
import { formatSpread, type Spread } from './spread.ts'

const HELP = `Measures the network between nodes, in namespaces of its own.

  npm run bench:overlay -- [OPTIONS] [PART]...

  PART             traffic, healing, join, scale; default: all
  --rounds N       of traffic, healing and join; default: 5
  --sizes N[,N]    scale: numbers of Node objects; default: 2,100,500,1000,5000
  --changes N      scale: nodes that come and go at each size; default: 30
  --idle SECONDS   scale: how long the idle agent is watched, with an audit each 30 s; default: 30
`

/** In Markdown, for the README. */
const SCALE_HEAD =
  '| nodes | all is programmed (processor time) | one node comes (longest) | goes (longest) | PSS of two agents (USS) | idle | requests: start, change, idle |'

const PARTS: Readonly<Record<string, () => Promise<void>>> = {
  async traffic() {
    run(`mkdir -p ${PLUGINS}`)
    fillPluginDirectory(PLUGINS)
    await measureDataPath(Number(values.rounds), (findings) => console.log(`\n${tableOf(findings)}`))
  },
  async healing() {
    console.log('\nwhole again, after the end of the command that did the damage')
    await measureHealing(Number(values.rounds), (kind, spread) =>
      console.log(`${kind.padEnd(36)}${formatSpread(spread)}`),
    )
  },
  async join() {
    console.log(`\na new node, from the start of its agent; goal for its pods: ${JOIN_GOAL_MS} ms`)
    console.log('          pods of both reach each other     pods can be started    processor time')
    await measureJoin(Number(values.rounds), ({ backend, reachableMs, installedMs, cpuMs }) => {
      const isMet = reachableMs.median <= JOIN_GOAL_MS
      const reachable = `${formatSpread(reachableMs)}, ${isMet ? 'met' : 'not met'}`
      console.log(
        `${backend.padEnd(10)}${reachable.padEnd(34)}${formatSpread(installedMs).padEnd(23)}${formatSpread(cpuMs)}`,
      )
    })
  },
  async scale() {
    console.log(`\n${SCALE_HEAD}\n${SCALE_HEAD.replaceAll(/[^|]+/g, '---')}`)
    await measureScale(
      {
        sizes: values.sizes.split(',').map(Number),
        changes: Number(values.changes),
        idleSeconds: Number(values.idle),
      },
      (result) => console.log(scaleRow(result)),
    )
  },
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '5' },
    sizes: { type: 'string', default: '2,100,500,1000,5000' },
    changes: { type: 'string', default: '30' },
    idle: { type: 'string', default: '30' },
    help: { type: 'boolean', short: 'h' },
  },
})
if (values.help) console.log(HELP)
else {
  enterSandbox()
  for (const [name, measure] of Object.entries(PARTS)) {
    if (positionals.length > 0 && !positionals.includes(name)) continue
    enterFreshNetwork()
    await measure()
  }
  process.exit(0)
}

function scaleRow({ nodes, coldMs, coldCpuMs, addedMs, deletedMs, memory, ...rest }: ScaleResult): string {
  const { idleCpuPercent, requests } = rest
  const spread = ({ median, max }: Spread) => `${median.toFixed(1)} ms (${max.toFixed(1)})`
  const cells = [
    nodes.toLocaleString('en'),
    `${(coldMs / 1000).toFixed(2)} s (${(coldCpuMs / 1000).toFixed(2)} s)`,
    spread(addedMs),
    spread(deletedMs),
    `${memory.pss.toFixed(0)} MB (${memory.uss.toFixed(0)} MB)`,
    `${idleCpuPercent.toFixed(3)} %`,
    `${requests.start}, ${requests.change.toFixed(1)}, ${requests.idle}`,
  ]
  return `| ${cells.join(' | ')} |`
}
