import { runtime } from '#runtime'
import { callDelegate } from '../cni/delegate.ts'
import { memberOf } from '../cni/validate.ts'
import { Code, collectFaults, Fault, toFault } from '../core/errors.ts'
import { isObject } from '../core/json.ts'
import { textBytes } from '../core/text.ts'
import { base64 } from './base64.ts'
import type { Command, CommandContext, Options } from './command.ts'
import { OWN_PROGRAM, PLACE_OPTIONS, type Places, placesOf } from './installation.ts'
import { type NetworkFile, readNetworks } from './networks.ts'
import { type CachedResult, RESULTS_DIR, readCached, viewNode } from './node_view.ts'
import { unknownNetwork, unknownWord, usage } from './options.ts'

const ACTIONS = ['add', 'del', 'check', 'gc', 'status']
/** What libcni tells a plugin of the result of the others, and of all attachments. Source: libcni, buildOneConfig and GCNetworkList. */
const VALID = 'cni.dev/valid-attachments'
/** The versions with these commands. Source: CNI specification, CONVENTIONS and the changes of 0.4.0 and 1.1.0. */
const WITH_CHECK = /^(0\.4|1\.)/
const WITH_STATUS = /^1\.[1-9]/

/** A small container runtime: calls all plugins of a network, as libcni does, and keeps results where libcni does. */
export const CNI: Command = {
  summary: 'try a network as a runtime does: all plugins of its list',
  words: [ACTIONS.join('|'), 'NETWORK', '[NETNS]'],
  options: {
    ifname: { value: 'NAME', help: 'the interface in the pod (default eth0)' },
    container: { value: 'ID', help: 'the container (default: derived from NETNS)' },
    args: { value: 'K=V;K=V', help: 'CNI_ARGS' },
    'cap-args': { value: 'JSON', help: 'runtimeConfig, for plugins with these capabilities' },
    yes: { help: 'gc: also of running pods of which no result is kept', short: 'y' },
    ...PLACE_OPTIONS,
  },
  examples: [
    [
      'ip netns add test; bowline cni add bowline test',
      'attaches a pod; NETNS is a path, or a name below /run/netns',
    ],
    ['bowline cni check bowline test', 'checks what ADD has made'],
    ['bowline cni del bowline test', 'detaches it'],
    [`bowline cni add lab test --cap-args '{"portMappings":[…]}'`, 'with host ports'],
  ],
  run: cni,
}

type Call = {
  readonly action: string
  readonly network: NetworkFile
  readonly version: string
  readonly containerId: string
  readonly ifName: string
  readonly netns: string
  readonly options: Options
  readonly places: Places
}

function cni(options: Options, context: CommandContext): number {
  const action = options[ACTIONS.join('|')] ?? ''
  if (!ACTIONS.includes(action)) throw unknownWord('action', action, ACTIONS)
  const capArgs = options['cap-args']
  if (capArgs !== undefined && !isObject(parse(capArgs)))
    throw usage(`--cap-args: ${capArgs} is not a JSON object`)
  const places = placesOf(options)
  const call = callOf(action, options, places, context)
  warnOfIgnored(call, context)
  const results = RUN[action]?.(call, context)
  if (results !== undefined)
    context.print(JSON.stringify(results, null, options['json'] === undefined ? 2 : 0))
  else if (options['json'] !== undefined) context.print('{}')
  return 0
}

const RUN: Readonly<Record<string, (call: Call, context: CommandContext) => unknown>> = {
  add,
  del,
  check(call, context) {
    if (!WITH_CHECK.test(call.version) || call.network.list?.['disableCheck'] === true) return
    const prevResult = cachedResult(call, context)
    if (!prevResult) throw notAttached(call)
    for (const plugin of pluginsOf(call)) run('CHECK', plugin, call, context, { prevResult })
  },
  gc(call, context) {
    const names = context.files.list(RESULTS_DIR)
    const known = names.flatMap((name) => readCached(context.files, name) ?? [])
    const valid = known
      .filter(({ networkName }) => networkName === call.network.name)
      .map(({ containerId, ifName }) => ({ containerID: containerId, ifname: ifName }))
    if (!WITH_STATUS.test(call.version)) throw tooOld(call, 'gc')
    assertNoneLives(call, valid, context)
    for (const plugin of pluginsOf(call)) run('GC', plugin, call, context, { [VALID]: valid })
  },
  status(call, context) {
    if (!WITH_STATUS.test(call.version)) throw tooOld(call, 'status')
    for (const plugin of pluginsOf(call)) run('STATUS', plugin, call, context, {})
  },
}

/** A runtime may keep its results elsewhere: then GC would take the network of all its pods, also of those without a record. */
function assertNoneLives(
  { network: { name, config }, options }: Call,
  valid: readonly { readonly containerID: string; readonly ifname: string }[],
  context: CommandContext,
): void {
  const ours = viewNode(context).attachments.filter(({ record }) => record.network === name)
  const lost = ours.filter(
    ({ record: { containerId, ifName }, stale }) =>
      !stale && !valid.some((one) => one.containerID === containerId && one.ifname === ifName),
  )
  const leases = context.ports.pools.view(name, config?.ipam?.dataDir).owners()
  const unrecorded = leases.filter(
    (one) => !ours.some(({ record }) => record.containerId === one.containerId),
  )
  const count = lost.length + (valid.length === 0 ? unrecorded.length : 0)
  if (count === 0 || options['yes'] !== undefined) return
  throw new Fault(
    `running pods, or addresses in use, of which no result is kept in ${RESULTS_DIR}: ${count}`,
    {
      code: Code.tryLater,
      hint: `Run bowline gc, which leaves them alone, or bowline cni gc ${name} --yes, which takes their network away.`,
    },
  )
}

function callOf(action: string, options: Options, places: Places, { files }: CommandContext): Call {
  const name = options['NETWORK'] ?? ''
  const networks = readNetworks(places.confDir, files).filter(({ list }) => list)
  const network = networks.find((one) => one.name === name)
  if (!network) {
    const names = networks.map((one) => one.name)
    throw unknownNetwork(name, names, places.confDir)
  }
  const netns = pathOf(options['NETNS'] ?? '')
  if (netns === '' && !['gc', 'status'].includes(action)) throw usage('NETNS is missing')
  const { cniVersion, cniVersions } = (network.list ?? {}) as Record<string, unknown>
  const versions = [cniVersion].concat(cniVersions ?? []).filter((one) => typeof one === 'string')
  return {
    action,
    network,
    version: versions.sort().at(-1) ?? '0.1.0',
    containerId: options['container'] ?? `bowline-${runtime.sha256(netns).slice(0, 20)}`,
    ifName: options['ifname'] ?? 'eth0',
    netns,
    options,
    places,
  }
}

/** A name is that of a namespace that `ip netns add` has made. */
function pathOf(netns: string): string {
  return netns === '' || netns.includes('/') ? netns : `/run/netns/${netns}`
}

/**
 * Each plugin gets the result of those before it. What a failed ADD has left, DEL of all plugins takes away: so an attachment that is
 * there already is refused first, as that DEL would be its own.
 */
function add(call: Call, context: CommandContext): unknown {
  if (cachedResult(call, context) !== undefined) throw alreadyAttached(call)
  let prevResult: unknown
  try {
    for (const plugin of pluginsOf(call)) {
      const printed = run('ADD', plugin, call, context, prevResult === undefined ? {} : { prevResult })
      prevResult = JSON.parse(printed) as unknown
    }
    keep(call, prevResult, context)
    return prevResult
  } catch (error) {
    const fault = toFault(error)
    // Somebody has attached it without a result in the cache.
    if (fault.code === Code.interfaceExists) throw fault
    const [left] = collectFaults([() => remove(call, prevResult, context)])
    if (!left) throw fault
    const message = `${fault.message}; then, of what it had made, not all could be removed: ${left.message}`
    throw new Fault(message, { cause: fault })
  }
}

function del(call: Call, context: CommandContext): void {
  remove(call, cachedResult(call, context), context)
  context.files.remove(`${RESULTS_DIR}/${fileName(call)}`)
}

/** In the reverse order. Goes on after a failure, then throws the first. */
function remove(call: Call, prevResult: unknown, context: CommandContext): void {
  const more = prevResult !== undefined && WITH_CHECK.test(call.version) ? { prevResult } : {}
  const [first] = collectFaults(
    pluginsOf(call)
      .reverse()
      .map((plugin) => () => run('DEL', plugin, call, context, more)),
  )
  if (first) throw first
}

/** Runs one plugin. Ours need not be installed: then this program serves the call. */
function run(
  command: string,
  plugin: { readonly type: string },
  call: Call,
  { plugins, env }: CommandContext,
  more: object,
): string {
  const { network, version, containerId, ifName, netns, options, places } = call
  const runtimeConfig = capabilityArgs(plugin, options)
  const config = {
    ...plugin,
    name: network.name,
    cniVersion: version,
    ...(runtimeConfig && { runtimeConfig }),
    ...more,
  }
  const isOwn = ['bowline', 'bowline-ipam'].includes(plugin.type)
  const isInstalled = plugins.isExecutable(`${places.binDir}/${plugin.type}`)
  const callEnv = {
    PATH: env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin',
    CNI_PATH: places.binDir,
    CNI_CONTAINERID: containerId,
    CNI_IFNAME: ifName,
    CNI_NETNS: netns,
    BOWLINE_STDERR: 'none',
    // As all runtimes do: some plugins refuse what they do not know.
    CNI_ARGS: ['IgnoreUnknown=1', options['args']].filter(Boolean).join(';'),
  }
  const program = isOwn && !isInstalled ? OWN_PROGRAM : undefined
  return callDelegate(
    {
      isExecutable: (path) => program !== undefined || plugins.isExecutable(path),
      run: (path, variables, stdin) => plugins.run(program ?? path, variables, stdin),
    },
    { type: plugin.type, command, env: callEnv, stdin: JSON.stringify(config) },
  )
}

/** Returns those of `--cap-args` that the plugin has a capability for. */
function capabilityArgs(plugin: object, options: Options): Record<string, unknown> | undefined {
  const capabilities = memberOf(plugin, 'capabilities')
  const text = options['cap-args']
  if (text === undefined || !isObject(capabilities)) return undefined
  const given = parse(text) as Record<string, unknown>
  return Object.fromEntries(Object.entries(given).filter(([key]) => capabilities[key] === true))
}

/** Runtimes ignore them in silence. A person has mistyped one, or the conflist lacks the capability. */
function warnOfIgnored(call: Call, { warn }: CommandContext): void {
  const given = parse(call.options['cap-args'] ?? '{}') as Record<string, unknown>
  const used = pluginsOf(call).flatMap((plugin) => Object.keys(capabilityArgs(plugin, call.options) ?? {}))
  for (const key of Object.keys(given).filter((one) => !used.includes(one)))
    warn(
      `bowline: --cap-args: no plugin in ${call.network.file} has "${key}" in "capabilities": it is ignored`,
    )
}

function pluginsOf({ network }: Call): { readonly type: string }[] {
  return [...(network.list?.plugins ?? [])]
}

function keep(call: Call, result: unknown, { files }: CommandContext): void {
  const { network, containerId, ifName, netns, options } = call
  const pairs = (options['args'] ?? '').split(';').filter(Boolean)
  const cached: CachedResult = {
    kind: 'cniCacheV1',
    containerId,
    config: base64(JSON.stringify(network.list)),
    ifName,
    networkName: network.name,
    netns,
    cniArgs: pairs.map((pair) => [pair.replace(/=.*/, ''), pair.replace(/^[^=]*=/, '')] as const),
    result: result as Record<string, unknown>,
  }
  files.ensureDirectory(RESULTS_DIR)
  files.publish(`${RESULTS_DIR}/${fileName(call)}`, textBytes(JSON.stringify(cached)), 0o600)
}

function cachedResult(call: Call, { files }: CommandContext): unknown {
  return readCached(files, fileName(call))?.result
}

function fileName({ network, containerId, ifName }: Call): string {
  return `${network.name}-${containerId}-${ifName}`
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function alreadyAttached({ netns, network, ifName }: Call): Fault {
  return new Fault(`${netns} has ${ifName} on ${network.name} already`, {
    code: Code.interfaceExists,
    hint: `Run bowline cni del ${network.name} ${netns}, or add --ifname NAME.`,
  })
}

function notAttached({ netns, network }: Call): Fault {
  return new Fault(`no result of an ADD is kept for ${netns} on ${network.name}`, {
    code: Code.invalidConfig,
    hint: `Run bowline cni add ${network.name} ${netns}.`,
  })
}

function tooOld({ network, version }: Call, action: string): Fault {
  return new Fault(`network ${network.name} is of version ${version}, which has no ${action}`, {
    code: Code.incompatibleVersion,
    hint: `Set "cniVersion" to "1.1.0" in ${network.file}.`,
  })
}
