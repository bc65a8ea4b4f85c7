import { existsSync, readdirSync, statSync } from 'node:fs'
import { isIP } from 'node:net'
import { basename, join, relative } from 'node:path'
import { enterPrivateNamespaces, run } from './private_namespaces.ts'

/*
 * What system tests stand on: a node that is nobody else's (this process' own network and mount namespaces), pods
 * (named network namespaces), and other people's tools to look at them with.
 */

const STATE = '/var/lib/cni'

/**
 * Makes this test file a node of its own: network, mounts, /var/lib and /run/netns. Once a file, in `beforeAll`. From
 * then on files are to be read with the *Sync functions: the others run on threads that still see the old mounts.
 */
export function enterSandbox(): void {
  enterPrivateNamespaces()
  run(`mount -t tmpfs tmpfs /var/lib; mkdir -p ${STATE}`)
}

/** A named network namespace, such as a pod. */
export type Netns = { readonly name: string; readonly path: string }

/** Makes an empty namespace with `lo` up. Fails if it exists. */
export function createNetns(name: string): Netns {
  run(`ip netns add ${name}; ip -n ${name} link set lo up`)
  return { name, path: `/run/netns/${name}` }
}

/** Removes the namespace; no error when it is gone. */
export function removeNetns(name: string): void {
  run(`[ ! -e /run/netns/${name} ] || ip netns delete ${name}`)
}

/** An outside host: linked to the node by one veth pair, and without a route to any pod. */
export type Outside = { readonly netns: Netns; readonly address: string; readonly nodeAddress: string }

/** Makes the namespace `outside`, and the node's uplink `up0` with the default routes through it. */
export function createOutside(): Outside {
  const netns = createNetns('outside')
  // IPv6 would look for duplicates of link-local addresses for a second, and answer nothing until then.
  run(`ip netns exec outside sh -c 'echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad'
    ip link add up0 type veth peer name eth0 netns outside
    ip address add 192.0.2.1/24 dev up0; ip -6 address add 2001:db8::1/64 dev up0 nodad
    ip -n outside address add 192.0.2.2/24 dev eth0; ip -n outside -6 address add 2001:db8::2/64 dev eth0 nodad
    ip link set up0 up; ip -n outside link set eth0 up
    ip route add default via 192.0.2.2; ip -6 route add default via 2001:db8::2`)
  return { netns, address: '192.0.2.2', nodeAddress: '192.0.2.1' }
}

/** Runs a program in a namespace, or on the node when `netns` is undefined. Throws when it fails. */
export async function runIn(netns: Netns | undefined, command: string, ...args: string[]): Promise<string> {
  const prefix = netns ? [`--net=${netns.path}`, '--', command] : [command]
  const [program = command, ...rest] = netns ? ['nsenter', ...prefix] : prefix
  // Not by execa, which would take more time than such a program does.
  const child = Bun.spawn([program, ...rest, ...args], {
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
    // A busy machine may take half a minute for what takes a few milliseconds.
    timeout: 100_000,
  })
  const [stdout, stderr, exitCode] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ])
  if (exitCode !== 0) {
    const problem = `${[program, ...rest, ...args].join(' ')}: exit code ${exitCode}\n${stderr}`
    throw Object.assign(new Error(problem), { stdout })
  }
  return stdout.replace(/\n$/, '')
}

/** What `ip -j -d` prints of a link, as far as tests look at it. */
export type LinkJson = {
  readonly ifname: string
  readonly ifindex: number
  readonly flags: readonly string[]
  readonly mtu: number
  readonly address: string
  readonly operstate: string
  readonly master?: string
  readonly ifalias?: string
  readonly linkinfo?: { readonly info_kind?: string; readonly info_slave_data?: Record<string, unknown> }
  readonly addr_info: readonly {
    readonly family: string
    readonly local: string
    readonly prefixlen: number
    readonly scope: string
  }[]
}

/** What `ip -j route` prints of a route. */
export type RouteJson = {
  readonly dst: string
  readonly gateway?: string
  readonly dev: string
  readonly scope?: string
  readonly prefsrc?: string
  readonly flags: readonly string[]
}

/** All links with their addresses. */
export async function links(netns?: Netns): Promise<LinkJson[]> {
  return json(await runIn(netns, 'ip', '-j', '-d', 'address'))
}

/** One link, or undefined. */
export async function link(name: string, netns?: Netns): Promise<LinkJson | undefined> {
  return (await links(netns)).find(({ ifname }) => ifname === name)
}

/** `10.1.0.5/24`, `fd00::5/64` …: the addresses of a link, without link-local ones. */
export async function addressesOf(name: string, netns?: Netns): Promise<string[]> {
  const found = (await link(name, netns))?.addr_info ?? []
  return found.filter(({ scope }) => scope !== 'link').map(({ local, prefixlen }) => `${local}/${prefixlen}`)
}

/** The routes of the main table of one family. */
export async function routes(netns?: Netns, family: 4 | 6 = 4): Promise<RouteJson[]> {
  return json(await runIn(netns, 'ip', `-${family}`, '-j', 'route'))
}

/** Every object of the ruleset, as `nft -j list ruleset` prints it: one key each, such as `table` or `map`. */
export async function nftRuleset(netns?: Netns): Promise<Record<string, NftObject>[]> {
  return parseRuleset(await runIn(netns, 'nft', '-j', 'list', 'ruleset'))
}

/** What `nft -j` has printed, without the object that says which nft it was. */
export function parseRuleset(text: string): Record<string, NftObject>[] {
  const { nftables } = json<{ nftables: Record<string, NftObject>[] }>(text)
  return nftables.filter((object) => !('metainfo' in object))
}

export type NftObject = {
  readonly family: string
  readonly name: string
  readonly table?: string
  readonly elem?: readonly unknown[]
}

/** The keys of all maps of our table: one for each masqueraded subnet. */
export async function nftElements(netns?: Netns): Promise<string[]> {
  return elementsIn(await nftRuleset(netns), 'map')
}

function elementsIn(ruleset: readonly Record<string, NftObject>[], kind: 'map' | 'set'): string[] {
  return ruleset
    .flatMap((object) => object[kind] ?? [])
    .filter(({ table }) => table === 'bowline')
    .flatMap(({ elem }) => elem ?? [])
    .map(keyOfElement)
    .toSorted()
}

/** Sends `count` packets, 200 ms apart; returns how many were answered, and the shortest round trip in ms. */
export async function ping(
  address: string,
  { from, count = 1 }: { from?: Netns; count?: number } = {},
): Promise<{ answered: number; ms: number }> {
  const output = await runIn(from, 'ping', '-n', '-c', `${count}`, '-i', '0.2', '-W', '2', address).catch(
    (error: unknown) => stdoutOf(error),
  )
  return {
    answered: Number(/(\d+) received/.exec(output)?.[1] ?? 0),
    ms: Number(/= ([\d.]+)\//.exec(output)?.[1] ?? Number.NaN),
  }
}

/** What of ours is on a node: interfaces, leases, records, nftables. Everything empty but `other` is a clean node. */
export type Residue = {
  /** veth pairs, bridges and what limits the bandwidth of pods, without the uplink of `createOutside`. */
  readonly links: string[]
  readonly leases: string[]
  readonly records: string[]
  readonly nftTables: string[]
  readonly nftElements: string[]
  readonly nftSetElements: string[]
}

/** A node without any pod. Mode l2 leaves its bridge: `{ ...NOTHING, links: ['cni0'] }`. */
export const NOTHING: Residue = {
  links: [],
  leases: [],
  records: [],
  nftTables: [],
  nftElements: [],
  nftSetElements: [],
}

/** Lists all of ours that is on this node now. Files are those of this process' mount namespace below `root`. */
export async function residue({ netns, root = '' }: { netns?: Netns; root?: string } = {}): Promise<Residue> {
  const [found, ruleset] = await Promise.all([links(netns), nftRuleset(netns)])
  return residueOf(found, ruleset, filesBelow(root + STATE))
}

/** The same from what was seen on a node: its links, its ruleset, and the paths of all files relative to /var/lib/cni. */
export function residueOf(
  found: readonly LinkJson[],
  ruleset: readonly Record<string, NftObject>[],
  files: readonly string[],
): Residue {
  const kinds = ['veth', 'bridge', 'vlan', 'ifb']
  const tables = ruleset.flatMap((object) => object['table'] ?? [])
  return {
    links: found
      .filter(({ ifname, linkinfo }) => kinds.includes(linkinfo?.info_kind ?? '') && ifname !== 'up0')
      .map(({ ifname }) => ifname),
    leases: files.filter((path) => isIP(basename(path)) > 0),
    // The locks of a network stay, since another process may be waiting for one.
    records: files.filter((path) => path.startsWith('bowline/') && !/(^|[./])locks?(\/|$)/.test(path)),
    nftTables: tables.map(({ family, name }) => `${family} ${name}`),
    nftElements: elementsIn(ruleset, 'map'),
    nftSetElements: elementsIn(ruleset, 'set'),
  }
}

/** Removes everything that `residue` lists and all state: so that a test starts on a fresh node. */
export async function clearNode({ netns, root = '' }: { netns?: Netns; root?: string } = {}): Promise<void> {
  const { links } = await residue({ ...(netns && { netns }), root })
  const commands = links.map((name) => `ip link delete ${name} 2>&1 || true`)
  await runIn(netns, 'sh', '-ec', [...commands, 'nft flush ruleset'].join('\n'))
  run(`rm -rf ${root}${STATE}; mkdir -p ${root}${STATE}`)
}

/** The paths of all files below a directory, relative to it; none when it is missing. */
export function filesBelow(directory: string): string[] {
  if (!existsSync(directory)) return []
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((path) => statSync(join(directory, path), { throwIfNoEntry: false })?.isFile() ?? false)
    .map((path) => relative(directory, join(directory, path)))
    .toSorted()
}

// An element is its key, `[key, verdict]` in a map, and `{ elem: { val, comment } }` around the key when commented.
function keyOfElement(element: unknown): string {
  if (Array.isArray(element)) return keyOfElement(element[0])
  if (typeof element === 'object' && element !== null && 'elem' in element) return keyOfElement(element.elem)
  if (typeof element === 'object' && element !== null && 'val' in element) return keyOfElement(element.val)
  if (typeof element === 'object' && element !== null && 'prefix' in element) {
    const { addr, len } = element.prefix as { addr: string; len: number }
    return `${addr}/${len}`
  }
  return String(element)
}

function json<T>(text: string): T {
  return JSON.parse(text || '[]') as T
}

function stdoutOf(error: unknown): string {
  return error instanceof Error && 'stdout' in error ? String(error.stdout) : ''
}
