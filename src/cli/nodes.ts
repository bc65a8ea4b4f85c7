import { decodeCell, type WayState } from '../overlay/mesh/cell.ts'
import { WAYS } from '../overlay/mesh/packet.ts'
import type { MeshView, NodeSummary, NoMesh, PeerView, WayView } from '../overlay/mesh/view.ts'
import type { Command, CommandContext, Options } from './command.ts'
import { printFindings } from './doctor/finding.ts'
import { agentPort, askAgent, askForMesh, LOG_HINT } from './mesh_view.ts'
import { drawMatrix, rttText, shortNames } from './nodes_matrix.ts'
import { age, columnsOf, counted, type Paint, painter, table } from './screen.ts'

export const NODES: Command = {
  summary: 'show who reaches whom, how fast, by which path, what is wrong',
  options: {
    all: { help: 'list all nodes of a large cluster, also those in order' },
    web: { help: 'print the address of a web page with the same, live' },
  },
  examples: [
    ['bowline nodes', 'what this node measures, and the matrix of all nodes'],
    ['bowline nodes --web', 'the address of the page'],
    ['bowline nodes --json | jq -r ".findings[].hint"', 'for programs: what to do'],
  ],
  run: nodes,
}

function nodes(options: Options, context: CommandContext): number {
  const isJson = options['json'] !== undefined
  if (options['web'] !== undefined) return printAddress(isJson, context)
  const view = askForMesh(context)
  const isMesh = !('overlay' in view)
  if (isJson) context.print(JSON.stringify(isMesh ? forPrograms(view) : view))
  else if (isMesh) context.print(screenOf(view, options['all'] !== undefined, context).join('\n'))
  else context.print(withoutMesh(view, context))
  return 0
}

/** More nodes than this are listed only where something is wrong. */
const MAX_LISTED = 24

const NO_OVERLAY =
  'No overlay is configured: the routes of your own network lead to the pods of other nodes.\nAn overlay is on where the ConfigMap bowline has a key overlay.json: kubectl -n kube-system edit configmap bowline'

function withoutMesh({ overlay, findings }: NoMesh, context: CommandContext): string {
  if (overlay === false) return NO_OVERLAY
  if (findings.length > 0) return printFindings(findings, painter(context)).join('\n')
  return `The agent waits for the Node of this machine: ${LOG_HINT}`
}

function printAddress(isJson: boolean, context: CommandContext): number {
  askAgent(context, '/livez')
  const port = agentPort(context)
  const url = `http://127.0.0.1:${port}/`
  if (isJson) context.print(JSON.stringify({ url }))
  else
    context.print(
      [
        url,
        `From elsewhere, and open the same address there: ssh -L ${port}:127.0.0.1:${port} ${context.machine.hostname()}`,
        `or, with the page of any node: kubectl -n kube-system port-forward ds/bowline ${port}`,
      ].join('\n'),
    )
  return 0
}

function screenOf(view: MeshView, isAll: boolean, context: CommandContext): string[] {
  const paint = painter(context)
  const { node, backend, size, nodes: all, findings, isWhole } = view
  const head = `${paint('bold', node)}: ${counted(size, 'node')}, backend ${backend}, ${rateText(view)}`
  const peers = peerTable(view, isAll, paint, columnsOf(context))
  return [
    head,
    ...(peers.length > 0 ? ['', ...peers] : []),
    ...(isWhole
      ? []
      : ['', `Of ${size} nodes those are shown with which something is wrong, as measured from here.`]),
    ...(isWhole && all.length > 1 ? ['', ...drawMatrix(view, paint, context.machine.columns())] : []),
    '',
    ...(findings.length > 0
      ? printFindings(findings, paint)
      : [
          `${paint('green', '✓')} ${size === 1 ? 'no other node yet' : 'nothing is wrong, as far as has been measured'}`,
        ]),
  ]
}

function rateText({ intervalMs, size }: MeshView): string {
  if (intervalMs === 0) return 'probes are turned off ("probeIntervalMs": 0)'
  if (size === 1) return 'alone so far'
  const each = intervalMs * Math.max(1, size - 1)
  return `each measured every ${each < 1000 ? `${each} ms` : age(each)}`
}

function peerTable(
  { peers, nodes: all, now }: MeshView,
  isAll: boolean,
  paint: Paint,
  columns: number,
): string[] {
  const isLong = !isAll && peers.length > MAX_LISTED
  const shown = isLong ? peers.filter(({ ways }) => ways.some(({ state }) => state !== 'ok')) : peers
  const short = shortNames(all.map(({ name }) => name))
  const nameOf = (name: string) => short[all.findIndex((one) => one.name === name)] ?? name
  const rows = shown.map((peer) => {
    const pods = peer.ways.filter(({ network }) => network === 'pods')
    const way = pods.find(({ rttMs }) => rttMs !== null) ?? pods[0] ?? peer.ways[0]
    const seen = Math.max(...peer.ways.map(({ lastSeen }) => lastSeen ?? 0))
    return [
      paint('bold', nameOf(peer.name)),
      addressOf(peer.name, all),
      [...new Set(pods.map(({ path }) => path))].join(' ') || '–',
      way?.rttMs == null ? '–' : `${rttText(way.rttMs)} ms`,
      `${Math.round(100 * Math.max(0, ...peer.ways.map(({ loss }) => loss)))} %`,
      way ? String(way.carries ?? way.mtu) : '–',
      seen > 0 ? age(now - seen) : 'never',
      stateText(peer, paint),
    ]
  })
  const headings = ['NODE', 'ADDRESS', 'PATH', '>ROUND TRIP', '>LOSS', '>MTU', '>SEEN', 'STATE']
  const rest = peers.length - shown.length
  return [
    ...(rows.length > 0 ? table(paint, headings, rows, columns) : []),
    ...(rest > 0
      ? [`${rows.length > 0 ? 'The other ' : ''}${rest} nodes are ok: bowline nodes --all lists them.`]
      : []),
  ]
}

function addressOf(name: string, all: readonly NodeSummary[]): string {
  return all.find((one) => one.name === name)?.addresses[0] ?? '–'
}

const STATE_WORDS: Readonly<Record<WayState, string>> = {
  ok: 'ok',
  unmeasured: 'not measured yet',
  lossy: 'loses packets',
  small: 'only small packets',
  silent: 'silent',
  noAgent: 'no agent',
}

function stateText({ ways }: PeerView, paint: Paint): string {
  const bad = ways.filter(({ state }) => state !== 'ok' && state !== 'unmeasured')
  if (bad.length === 0) {
    const rest = ways.filter(({ state }) => state === 'unmeasured')
    return rest.length === 0
      ? paint('green', 'ok')
      : paint('dim', STATE_WORDS.unmeasured + namesOf(rest, ways))
  }
  const states = [...new Set(bad.map(({ state }) => state))]
  return states.map((state) => wrongText(state, bad, ways, paint)).join('; ')
}

function wrongText(state: WayState, bad: readonly WayView[], ways: readonly WayView[], paint: Paint): string {
  const like = bad.filter((one) => one.state === state)
  const isError = state === 'silent' || state === 'small'
  const words = STATE_WORDS[state] + namesOf(like, ways)
  return paint(isError ? 'red' : 'yellow', `${isError ? '✗' : '!'} ${words}`)
}

/** Names ways only if not all are like them. */
function namesOf(like: readonly WayView[], ways: readonly WayView[]): string {
  if (like.length === ways.length) return ''
  return ` (${like.map(({ network, family }) => `${network} IPv${family}`).join(', ')})`
}

/** Returns the view with each cell of the matrix spelled out. */
function forPrograms({ rows, ...view }: MeshView): object {
  const names = view.nodes.map(({ name }) => name)
  const matrix = rows.flatMap((row, from) =>
    row.flatMap((cell, i) => {
      const [to, { network, family }] = [Math.floor(i / WAYS.length), WAYS[i % WAYS.length] ?? WAYS[0]]
      const { state, isTunnelled, rttUs } = decodeCell(cell)
      if (state === 'unmeasured') return []
      const rttMs = rttUs === undefined ? null : Math.round(rttUs) / 1000
      return [{ from: names[from], to: names[to], network, family, state, isTunnelled, rttMs }]
    }),
  )
  return { ...view, matrix }
}
