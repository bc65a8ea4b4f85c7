import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { fetchFrom, startPeerServer } from '../../test/support/node/http_server.ts'
import {
  BOWLINE,
  CACHE,
  type PluginAnswer,
  pluginConfigOf,
  readConflist,
  runPlugin,
} from '../../test/support/node/plugin.ts'
import {
  addressesOf,
  createNetns,
  createOutside,
  enterSandbox,
  type Netns,
  type Outside,
  ping,
  residue,
} from '../../test/support/node/sandbox.ts'
import { draw, type Scene } from './drawing.ts'

/*
 * Runs in the process namespace of scripts/demo. Gives the process a network and mounts of its own, so that it cannot see
 * the machine's network and /var/lib/cni.
 */
const WIDTH = 80
const PORT = 8080
const color = process.stdout.isTTY && !process.env['NO_COLOR']

type Network = { readonly program: string; readonly config: Record<string, unknown> }

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { l2: { type: 'boolean' }, plugin: { type: 'string' } } })
  const network = chooseNetwork(values.l2 ?? false, values.plugin)
  console.log(
    bold(
      `\n${network.program.split('/').at(-1)}: network ${network.config['name']}, in private namespaces\n`,
    ),
  )

  enterSandbox()
  const outside = await step('a node with an uplink, and an outside host', () => createOutside())
  const podA = await step('an empty network namespace: pod-a', () => createNetns('pod-a'))
  const podB = await step('an empty network namespace: pod-b', () => createNetns('pod-b'))
  await call(network, 'VERSION')
  await call(network, 'ADD', podA)
  await call(network, 'ADD', podB)
  await call(network, 'CHECK', podA)

  const scene = await step('pods, node and outside host talk', () => measure(podA, podB, outside))
  console.log(`\n${draw(scene)}\n`)

  await call(network, 'DEL', podA)
  await call(network, 'DEL', podB)
  await proveNothingIsLeft(network)
}

function chooseNetwork(l2: boolean, plugin: string | undefined): Network {
  const config = pluginConfigOf(readConflist(l2 || plugin ? 'example-l2' : '10-bowline'))
  if (!plugin) return { program: BOWLINE, config }
  const program = plugin.includes('/') ? plugin : join(CACHE, 'plugins', plugin)
  if (!existsSync(program))
    stop(`there is no ${program}`, 'Run scripts/setup bench, which builds the reference plugins.')
  const ipam = { ...(config['ipam'] as object), type: 'host-local' }
  return { program, config: { ...config, type: plugin.split('/').at(-1), ipam, ipMasqBackend: 'nftables' } }
}

/** Calls the plugin as a runtime does, and prints the time from the start of its process to its end. */
async function call(
  network: Network,
  command: 'VERSION' | 'ADD' | 'CHECK' | 'DEL',
  pod?: Netns,
): Promise<void> {
  const answer = await runPlugin({
    program: network.program,
    command,
    config: prevResults.has(pod?.name)
      ? { ...network.config, prevResult: prevResults.get(pod?.name) }
      : network.config,
    containerId: pod ? `demo-${pod.name}` : '',
    netns: pod?.path ?? '',
  })
  const name = pod ? `${command} ${pod.name}` : command
  if (answer.exitCode !== 0) refused(name, answer)
  if (command === 'ADD') prevResults.set(pod?.name, answer.output)
  line(name, detailOf(command, answer), answer.ms)
}

const prevResults = new Map<string | undefined, unknown>()

function detailOf(command: string, { output }: PluginAnswer): string {
  if (command === 'VERSION')
    return `CNI ${output.supportedVersions?.[0]} to ${output.supportedVersions?.at(-1)}`
  return output.ips?.map(({ address }) => address).join(', ') ?? ''
}

function refused(name: string, { exitCode, signal, output, stderr }: PluginAnswer): never {
  const { code, msg, details } = output
  stop(
    `${name} failed: ${msg ?? `exit code ${exitCode ?? signal}, ${stderr}`}${code === undefined ? '' : ` (code ${code})`}`,
    details ?? 'Run scripts/demo again; if it fails again, run scripts/test and report what that says.',
  )
}

async function measure(podA: Netns, podB: Netns, outside: Outside): Promise<Scene> {
  const [a, b] = [await plainAddresses(podA), await plainAddresses(podB)]
  const gateway = gatewayOf(podA)
  const server = await startPeerServer(undefined, PORT)
  const servers = [server, await startPeerServer(podB, PORT), await startPeerServer(outside.netns, PORT)]
  const scene: Scene = {
    podA: a,
    podB: b,
    gateway,
    node: outside.nodeAddress,
    outside: outside.address,
    podToPodMs: await roundTrip(podA, b[0] ?? ''),
    podAToGatewayMs: await roundTrip(podA, gateway),
    podBToGatewayMs: await roundTrip(podB, gateway),
    podToOutsideMs: await roundTrip(podA, outside.address),
    podBSees: await fetchFrom(podA, `http://${b[0]}:${PORT}/`),
    gatewaySees: await fetchFrom(podA, `http://${gateway}:${PORT}/`),
    outsideSees: await fetchFrom(podA, `http://${outside.address}:${PORT}/`),
  }
  for (const one of servers) await one.stop()
  if (scene.outsideSees !== scene.node)
    stop(`outside sees ${scene.outsideSees}`, 'It must see the node: no masquerade.')
  if (scene.podBSees !== a[0])
    stop(`pod-b sees ${scene.podBSees}`, 'It must see pod-a itself: too much masquerade.')
  return scene
}

async function plainAddresses(pod: Netns): Promise<string[]> {
  return (await addressesOf('eth0', pod)).map((address) => address.replace(/\/.*/, ''))
}

function gatewayOf(pod: Netns): string {
  const { ips } = prevResults.get(pod.name) as PluginAnswer['output']
  return ips?.[0]?.gateway ?? ''
}

async function roundTrip(from: Netns, address: string): Promise<number> {
  const { answered, ms } = await ping(address, { from, count: 2 })
  if (answered === 0)
    stop(`${from.name} gets no answer from ${address}`, `Look: nsenter --net=${from.path} ip route`)
  return ms
}

/** Lists our objects on the node. Fails if there is any but a bridge, which stays by design. */
async function proveNothingIsLeft({ program }: Network): Promise<void> {
  const { links, leases, records, nftTables, nftElements } = await residue()
  const bridges = links.filter((name) => name === 'cni0')
  const left = {
    'interfaces of pods': links.filter((name) => name !== 'cni0'),
    'address leases': leases,
    'attachment records': records,
    'nftables elements': nftElements,
    'nftables tables': nftTables,
  }
  console.log(bold('\nLeft on the node'))
  for (const [name, items] of Object.entries(left)) {
    console.log(`  ${name.padEnd(20)} ${items.length} ${items.join(', ')}`.trimEnd())
  }
  if (bridges.length)
    console.log(`  ${'bridges'.padEnd(20)} 1 cni0, kept for the next pod, as in the reference`)
  const count = Object.values(left).flat().length
  if (count && program === BOWLINE)
    stop(`${count} things are left`, 'That is a bug: run scripts/test and report it.')
  const nothing = bridges.length ? 'Nothing but the bridge is left.' : 'Nothing is left.'
  console.log(green(`\n${count ? 'Done.' : nothing}`))
}

async function step<T>(text: string, work: () => T | Promise<T>): Promise<T> {
  const started = performance.now()
  try {
    const result = await work()
    line(text, '', performance.now() - started)
    return result
  } catch (error) {
    return stop(
      `${text}: ${error instanceof Error ? error.message : error}`,
      'Is this root, with ip, ping and curl? Run scripts/setup demo.',
    )
  }
}

function line(text: string, detail: string, ms: number): void {
  const time = `${ms.toFixed(1)} ms`
  const left = `  ${text}${detail ? `  ${detail}` : ''} `
  console.log(`${left}${dim('.'.repeat(Math.max(2, WIDTH - left.length - time.length - 1)))} ${time}`)
}

function stop(problem: string, hint: string): never {
  console.error(`\n${red('✗')} ${problem}\n  ${hint}`)
  process.exit(1)
}

function paint(code: number): (text: string) => string {
  return (text) => (color ? `\x1b[${code}m${text}\x1b[0m` : text)
}

const [bold, dim, red, green] = [paint(1), paint(2), paint(31), paint(32)]

await main()
