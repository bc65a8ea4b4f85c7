import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync, watch } from 'node:fs'
import { dirname } from 'node:path'
import pino from 'pino'
import { type AgentPorts, type InstallReport, startAgent } from './agent/agent.ts'
import type { GcReport } from './agent/collect.ts'
import type { AgentLog } from './agent/log.ts'
import { type Mesh, startMesh } from './agent/mesh/mesh.ts'
import page from './agent/mesh/page.html' with { type: 'text' }
import { createMetrics, type Metrics } from './agent/metrics.ts'
import { createOffload } from './agent/offload.ts'
import { type Overlay, startOverlay } from './agent/overlay.ts'
import { type RestorationPorts, startRestoration } from './agent/restoration.ts'
import { answer, type Site } from './agent/serve.ts'
import { openLocks } from './attachment/locks.ts'
import { openStore } from './attachment/store.ts'
import { podsOfFormerRanges } from './cli/former_ranges.ts'
import { type NetworkFile, readNetworks } from './cli/networks.ts'
import { Fault, isErrno } from './core/errors.ts'
import { VERSION } from './core/version.ts'
import { createLinuxFiles } from './kernel/linux/files.ts'
import { createLinuxKernel } from './kernel/linux/kernel.ts'
import { openMonitor, openNftMonitor } from './kernel/linux/monitor.ts'
import { createNftHold } from './kernel/linux/nft_hold.ts'
import { openProbeSender } from './kernel/linux/probe_socket.ts'
import { readEvents } from './kernel/netlink/events.ts'
import { readNftEvents } from './kernel/nftables/events.ts'
import { createKubeClient } from './kube/client.ts'
import type { KernelNews } from './overlay/keeper.ts'
import { AGENT_PORT } from './overlay/mesh/view.ts'
import { DEFAULT_PATHS } from './plugin/ports.ts'
import { podFeatures } from './pod/features/registry.ts'

/*
 * The composition root of bowline-agent, which runs on each node as a pod of the DaemonSet in conf/bowline.yaml: the only file of the
 * agent that knows Bun. The plugin does not need it: pods start and stop while it is away.
 */

const ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount'
const BOOT_ID_FILE = '/run/bowline/boot_id'
const CONF_DIR = '/etc/cni/net.d'
/** No loop of the agent may hang for longer on a call of the plugin. */
const LOCK_TIMEOUT_MS = 1000
const KERNEL_RELEASE = '/proc/sys/kernel/osrelease'
const LOOPBACK = '127.0.0.1'
const PROGRAM_TIMEOUT_MS = 120_000
const DEFAULT_GC_INTERVAL_S = 600
/** Tokens and certificates have margins of about a minute. */
const CLOCK_TOLERANCE_MS = 60_000
const PORT_RETRY_MS = 30_000
/** What the start has used is given back once: from then on little is allocated, and conf/bowline.yaml turns off Bun's own timer for that. */
const COLLECT_MS = 20_000
const MONITOR_RETRY_MS = 1000
/** The kubelet and the controller manager take a second or two for a new node. */
const PATIENCE_MS = 20_000

type Environment = Readonly<Record<string, string | undefined>>

/** A person tries it: the DaemonSet gives no words, and an agent that starts by mistake would change the node. */
function explain(words: readonly string[]): void {
  const [word] = words
  const text = [
    `bowline-agent ${VERSION}: installs Bowline on a node of Kubernetes, and joins the nodes.`,
    'It takes no options: kubectl apply -f conf/bowline.yaml starts it. Look at a node with bowline status.',
  ].join('\n')
  if (word === '--version') console.log(`bowline-agent ${VERSION}`)
  else if (word === '--help' || word === '-h') console.log(text)
  else {
    console.error(`bowline-agent: unknown option ${JSON.stringify(word)}\n${text}`)
    process.exitCode = 2
  }
}

async function main(env: Environment): Promise<void> {
  const { LOG_LEVEL: level = 'info' } = env
  const isLevel = level === 'silent' || Object.hasOwn(pino.levels.values, level)
  const log = pino({
    level: isLevel ? level : 'info',
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
  })
  const { NODE_NAME: nodeName = '' } = env
  const metrics = createMetrics()
  metrics.set('bowline_agent_info', 1, { version: VERSION, node: nodeName })
  metrics.set('process_start_time_seconds', Math.round(Date.now() / 1000))
  log.info({ version: VERSION, node: nodeName }, 'bowline-agent starts')
  if (!isLevel)
    log.warn({ given: level }, `LOG_LEVEL is none of ${Object.keys(pino.levels.values).join(', ')}`)
  if (!nodeName) log.error('NODE_NAME is not set: take it from spec.nodeName, as conf/bowline.yaml does')
  const stop = new AbortController()
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stop.abort())
  const listeners: ((news: KernelNews) => void)[] = []
  const { overlay, mesh } = startOverlayIfConfigured(env, nodeName, log, metrics, listeners, stop.signal)
  const { formerPods, ...restorationPorts } = nodePortsOf(env)
  const restoration = startRestoration(
    { log, metrics, ...restorationPorts, random: Math.random },
    stop.signal,
  )
  watchNftables([...listeners, restoration.hear])
  setTimeout(() => Bun.gc(true), COLLECT_MS)
  const agent = startAgent({ ...portsOf(env, nodeName, log, metrics), formerPods, overlay }, stop.signal)
  // An HTML file that is imported as text is a text, whatever the types of Bun say.
  const site = {
    isReady: agent.isReady,
    metrics,
    mesh: { mesh, page: page as unknown as string, streams: 0 },
  }
  serve(Number(env['BOWLINE_AGENT_PORT'] ?? AGENT_PORT), site, log)
  await Promise.all([agent.ended, overlay?.ended, mesh?.ended, restoration.ended])
  log.info('bowline-agent ends; the plugin goes on without it')
  process.exit(0)
}

function portsOf(
  env: Environment,
  nodeName: string,
  log: AgentLog,
  metrics: Metrics,
): Omit<AgentPorts, 'formerPods'> {
  const account = env['SERVICE_ACCOUNT_DIR'] ?? ACCOUNT
  const { KUBERNETES_SERVICE_HOST: host = 'kubernetes.default', KUBERNETES_SERVICE_PORT: port = '443' } = env
  const api = createKubeClient({
    server: `https://${host.includes(':') ? `[${host}]` : host}:${port}`,
    readToken: () => readText(`${account}/token`),
    readAuthority: () => readText(`${account}/ca.crt`),
    onClock: createClockWatch(log, metrics),
  })
  const program = env['BOWLINE_PROGRAM'] ?? '/bowline'
  return {
    api,
    log,
    metrics,
    nodeName,
    patienceMs: PATIENCE_MS,
    install: (conflist) =>
      run<InstallReport>([program, 'install', '--conf', '-', ...placeFlags(env)], conflist),
    collection: {
      intervalMs: gcIntervalS(env, log) * 1000,
      collect: () => run<GcReport>([program, 'gc', '--yes', ...placeFlags(env)], '', bootIdOf(env)),
    },
    readTemplate: () => readText(env['CONFLIST_TEMPLATE'] ?? '/etc/bowline/10-bowline.conflist'),
    random: Math.random,
  }
}

/** What pods share is made again by their records, and by the conflists of their networks. */
function nodePortsOf(
  env: Environment,
): Pick<RestorationPorts, 'restore' | 'isMasquerading' | 'keepConnections'> & Pick<AgentPorts, 'formerPods'> {
  const { BOWLINE_BOOT_ID_FILE: given = BOOT_ID_FILE, CONF_DIR: confDir = CONF_DIR } = env
  const files = createLinuxFiles()
  const { recordsDir } = DEFAULT_PATHS
  const kernel = createLinuxKernel({ isContainer: true, ...(existsSync(given) && { bootIdFile: given }) })
  const locks = openLocks(files, recordsDir, LOCK_TIMEOUT_MS)
  const store = openStore(files, recordsDir)
  const features = podFeatures({ kernel, locks, store })
  const hold = createNftHold()
  return {
    restore() {
      let networks: readonly NetworkFile[] | undefined
      const configOf = (network: string) => {
        networks ??= readNetworks(confDir, files)
        return networks.find(({ name, config }) => config && name === network)?.config
      }
      return features.flatMap((feature) => feature.restore?.(configOf) ?? [])
    },
    // Not asked of the kernel: on a node without masquerading the code for that is not even compiled, which saves 2 MB.
    isMasquerading: () =>
      store.list().some(({ masquerade, bootId }) => masquerade && bootId === kernel.bootId()),
    keepConnections: (isNeeded) => hold.set(isNeeded),
    formerPods: () => podsOfFormerRanges({ kernel, store }, readNetworks(confDir, files), files),
  }
}

/** A node without overlay.json reaches the pods of other nodes by its own network. */
function startOverlayIfConfigured(
  env: Environment,
  nodeName: string,
  log: AgentLog,
  metrics: Metrics,
  listeners: ((news: KernelNews) => void)[],
  signal: AbortSignal,
): { readonly overlay?: Overlay; readonly mesh?: Mesh } {
  const path = env['OVERLAY_CONFIG'] ?? '/etc/bowline/overlay.json'
  if (!existsSync(path)) return {}
  const stateDir = env['AGENT_STATE_DIR'] ?? '/var/lib/cni/bowline-agent'
  const offload = createOffload({
    files: createLinuxFiles(),
    log,
    path: `${stateDir}/checksum_offload.json`,
    release: readFileSync(KERNEL_RELEASE, 'utf8').trim(),
    now: Date.now,
  })
  const mesh = startMesh(
    {
      log,
      metrics,
      nodeName,
      listen: listenForProbes,
      openSender: openProbeSender,
      nowMs: () => performance.now(),
      nonce: () => randomBytes(8).toString('hex'),
      random: Math.random,
      onBrokenOffload: offload.learn,
    },
    signal,
  )
  const overlay = startOverlay(
    {
      kernel: createLinuxKernel({ isContainer: true }),
      files: createLinuxFiles(),
      log,
      metrics,
      nodeName,
      readConfig: () => readText(path),
      watchConfig: (onChange) => watchDirectory(dirname(path), onChange, log),
      clusterFile: `${stateDir}/cluster.json`,
      lastConfigFile: `${stateDir}/overlay.json`,
      watchKernel(onNews) {
        listeners.push(onNews)
        void watchSocket(openMonitor(), readEvents, onNews)
      },
      random: Math.random,
      offload,
      mesh,
    },
    signal,
  )
  return { overlay, mesh }
}

/** Takes both families by one socket; a node without IPv6 has that of IPv4 alone. */
async function listenForProbes(
  port: number,
  onPacket: (bytes: Uint8Array) => void,
): Promise<{ close(): void }> {
  const socket = { data: (_: unknown, bytes: Uint8Array) => onPacket(bytes) }
  try {
    return await Bun.udpSocket({ hostname: '::', port, socket })
  } catch (error) {
    if ((error as { code?: string }).code === 'EADDRINUSE') throw error
    return await Bun.udpSocket({ hostname: '0.0.0.0', port, socket })
  }
}

/** The kubelet replaces a ConfigMap by a link in its directory, `..data`, through which all files of the mount lead. */
function watchDirectory(path: string, onChange: () => void, log: AgentLog): void {
  try {
    watch(path, onChange).on('error', onChange)
  } catch (error) {
    const hint = 'A change is noticed within half a minute all the same.'
    log.warn({ hint }, `watch ${path}: ${(error as Error).message}`)
  }
}

/**
 * Hands on what the kernel sends to the subscribers of a socket. No thread waits for it: Bun has as many as the node has processors, two
 * at least, and every file that is read needs one.
 */
async function watchSocket(
  fd: number,
  decode: (bytes: Uint8Array) => KernelNews,
  onNews: (news: KernelNews) => void,
): Promise<void> {
  for (;;) {
    try {
      for await (const bytes of Bun.file(fd).stream()) onNews(newsIn(bytes, decode))
    } catch (error) {
      onNews('lost')
      // ENOBUFS is told once. Any other error would be there again at once.
      if ((error as { code?: string }).code !== 'ENOBUFS') await Bun.sleep(MONITOR_RETRY_MS)
    }
  }
}

/** What cannot be read may have been anything. */
function newsIn(bytes: Uint8Array, decode: (bytes: Uint8Array) => KernelNews): KernelNews {
  try {
    return decode(bytes)
  } catch {
    return 'lost'
  }
}

/** A kernel without nftables has nothing to report of it. */
function watchNftables(listeners: readonly ((news: KernelNews) => void)[]): void {
  try {
    void watchSocket(openNftMonitor(), readNftEvents, (news) => {
      for (const listener of listeners) listener(news)
    })
  } catch (error) {
    if (!isErrno(error, 'EPROTONOSUPPORT')) throw error
  }
}

async function readText(path: string): Promise<string> {
  try {
    return await Bun.file(path).text()
  } catch (error) {
    throw new Fault(`read ${path}: ${(error as { code?: string }).code ?? String(error)}`, {
      errno: 'unreadable',
      hint: 'See the volumes of the DaemonSet in conf/bowline.yaml.',
      cause: error,
    })
  }
}

function placeFlags(env: Environment): string[] {
  const { BIN_DIR: binDir = '/opt/cni/bin', CONF_DIR: confDir = CONF_DIR } = env
  return ['--bin-dir', binDir, '--conf-dir', confDir]
}

/** Where conf/bowline.yaml mounts the boot id of the node: the commands take the variable for a sign that this is a container. */
function bootIdOf(env: Environment): Record<string, string> {
  return { BOWLINE_BOOT_ID_FILE: env['BOWLINE_BOOT_ID_FILE'] ?? BOOT_ID_FILE }
}

function gcIntervalS({ GC_INTERVAL_SECONDS: given }: Environment, log: AgentLog): number {
  if (given === undefined) return DEFAULT_GC_INTERVAL_S
  const seconds = Number(given)
  if (seconds >= 1 && seconds <= 86_400) return seconds
  const hint = 'Set it to a number from 1 to 86400, or leave it out.'
  log.warn(
    { hint, seconds: DEFAULT_GC_INTERVAL_S },
    `GC_INTERVAL_SECONDS ${JSON.stringify(given)} is not used`,
  )
  return DEFAULT_GC_INTERVAL_S
}

/** Runs a command of the executable and returns what it reports. Throws a Fault with its message if it has failed. */
async function run<T extends object>(
  command: readonly string[],
  input: string,
  env: Record<string, string> = {},
): Promise<T> {
  const child = Bun.spawn([...command, '--json'], {
    env,
    stdin: new Blob([input]),
    stdout: 'pipe',
    stderr: 'inherit',
    timeout: PROGRAM_TIMEOUT_MS,
    killSignal: 'SIGKILL',
  })
  const text = await new Response(child.stdout).text()
  const exitCode = await child.exited
  const { error, ...report } = parseReport(text, command[1], exitCode)
  if (error) throw new Fault(error.message, { hint: error.hint })
  return report as T
}

type Printed = { readonly error?: { readonly message: string; readonly hint?: string } }

function parseReport(text: string, command: string | undefined, exitCode: number): Printed {
  try {
    return JSON.parse(text) as Printed
  } catch {
    throw new Fault(
      `bowline ${command} ended with ${exitCode} and printed ${JSON.stringify(text.slice(0, 200))}`,
    )
  }
}

/** Logs once that the clocks differ, and once that they agree again. */
function createClockWatch(log: AgentLog, metrics: Metrics): (skewMs: number) => void {
  let isWrong = false
  return (skewMs) => {
    metrics.set('bowline_agent_clock_skew_seconds', Math.round(skewMs / 1000))
    const wasWrong = isWrong
    isWrong = Math.abs(skewMs) > CLOCK_TOLERANCE_MS
    if (isWrong === wasWrong) return
    if (isWrong)
      log.warn({ skewMs, hint: 'Let NTP set the clocks.' }, "the API server's clock and this node's differ")
    else log.info({ skewMs }, "the API server's clock and this node's agree again")
  }
}

/** Listens on loopback alone: the kubelet's probes come from the node itself. */
function serve(port: number, site: Site, log: AgentLog): void {
  const { metrics } = site
  try {
    Bun.serve({
      hostname: LOOPBACK,
      port,
      fetch(request) {
        const { user, system } = process.cpuUsage()
        metrics.set('process_resident_memory_bytes', process.memoryUsage.rss())
        metrics.set('process_cpu_seconds_total', (user + system) / 1e6)
        return answer(request, site)
      },
    })
  } catch (error) {
    const hint = 'Free the port, or set BOWLINE_AGENT_PORT and the probes of the DaemonSet to another one.'
    log.warn({ hint, retryMs: PORT_RETRY_MS }, `listen on ${LOOPBACK}:${port}: ${(error as Error).message}`)
    setTimeout(() => serve(port, site, log), PORT_RETRY_MS)
  }
}

const [, , ...words] = process.argv
if (words.length > 0) explain(words)
else await main(process.env)
