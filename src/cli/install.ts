import {
  type Conflist,
  isOwn,
  isSameJson,
  mergeConflist,
  ownConfigs,
  parseConflist,
  readableConflist,
} from '../cni/conflist.ts'
import { Code, Fault } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import type { Command, CommandContext, Options } from './command.ts'
import { misspeltKeys } from './doctor/unread_keys.ts'
import {
  CONFLIST,
  INSTALL_OPTIONS,
  IPAM_LINK,
  OWN_PROGRAM,
  type Places,
  PROGRAM,
  placesOf,
  publishConflist,
  readConf,
  report,
  withInstallLock,
} from './installation.ts'

const PROGRAM_MODE = 0o755
/** The names that libcni reads as configurations. */
const CONFIGURATION = /\.(conf|conflist|json)$/

/** `absent`: there is no conflist, and none was given. */
type Outcome = 'installed' | 'unchanged' | 'absent'

/**
 * Copies this program to where the container runtime looks for plugins, and then, if ADD would work, tells the runtime to use it: the
 * conflist is the gate through which pods start.
 */
export const INSTALL: Command = {
  summary: 'put the plugin and its configuration on this node',
  options: INSTALL_OPTIONS,
  examples: [
    ['bowline install', 'the program only; a conflist that is there stays'],
    ['bowline install --conf /root/10-bowline.conflist', 'the program and this network'],
    ['bowline install --conf - --json <my.conflist', 'the same for another program'],
  ],
  run: install,
}

function install(options: Options, context: CommandContext): number {
  const places = placesOf(options)
  const source = options['conf']
  const wanted = source === undefined ? undefined : parseConflist(readConf(source, context), source)
  if (wanted) assertUsable(wanted, places, context)
  const [program, conflist] = withInstallLock(context, () => [
    installProgram(places, context),
    installConflist(wanted, places, context),
  ])
  return report(
    { program, conflist, warnings: [...misspeltKeys(wanted), ...warningsFor(places, context)] },
    places,
    options,
    context,
  )
}

/** Throws a Fault if a runtime could not start a pod with this list. Touches nothing. */
function assertUsable(list: Conflist, { binDir }: Places, { plugins, callPlugin }: CommandContext): void {
  const missing = list.plugins.find((one) => !isOwn(one) && !plugins.isExecutable(`${binDir}/${one.type}`))
  if (missing) {
    throw new Fault(`key "plugins": there is no plugin ${missing.type} in ${binDir}`, {
      code: Code.notAvailable,
      hint: `Install ${binDir}/${missing.type}, or take it out of "plugins".`,
    })
  }
  // In the oldest version that has STATUS; what it asks is the same in all.
  for (const config of ownConfigs(list, '1.1.0')) {
    const { exitCode, stdout } = callPlugin({ command: 'STATUS', config, cniPath: binDir })
    if (exitCode !== 0) throw statusFault(stdout)
  }
}

function statusFault(stdout: string): Fault {
  const { code, msg, details } = JSON.parse(stdout) as { code: number; msg: string; details?: string }
  return new Fault(`pods could not be started with this configuration: ${msg}`, {
    code,
    ...(details && { hint: details }),
  })
}

/** Copies the program. Calls of the old one may be running: a rename leaves its file to them. */
function installProgram({ binDir }: Places, { files }: CommandContext): Outcome {
  const own = files.readProgram(OWN_PROGRAM)
  if (!own) throw new Fault(`${OWN_PROGRAM} is missing`, { hint: 'Mount /proc.' })
  files.ensureDirectory(binDir, PROGRAM_MODE)
  const isCurrent = (name: string) =>
    isSameProgram(own, files.readProgram(`${binDir}/${name}`)) &&
    files.modeOf(`${binDir}/${name}`) === PROGRAM_MODE
  const [hasProgram, hasLink] = [isCurrent(PROGRAM), isCurrent(IPAM_LINK)]
  if (!hasProgram) files.publish(`${binDir}/${PROGRAM}`, own, PROGRAM_MODE)
  if (!hasLink) files.publishLink(`${binDir}/${IPAM_LINK}`, PROGRAM)
  return hasProgram && hasLink ? 'unchanged' : 'installed'
}

/** Writes the conflist if its meaning changes: container runtime and meshes watch the file, and act on each write. */
function installConflist(
  wanted: Conflist | undefined,
  { confDir, conflist }: Places,
  { files }: CommandContext,
): Outcome {
  const text = files.readForeign(conflist)
  if (!wanted) return text === undefined ? 'absent' : 'unchanged'
  const present = readableConflist(text)
  const merged = mergeConflist(wanted, present)
  if (present && isSameJson(present, merged)) return 'unchanged'
  files.ensureDirectory(confDir, PROGRAM_MODE)
  publishConflist(files, conflist, merged)
  return 'installed'
}

/** Names the files that the runtime would use in place of ours. One with a plugin of ours in it is a mesh's copy, which is right. */
function warningsFor({ confDir }: Places, { files }: CommandContext): string[] {
  const before = files.list(confDir).filter((name) => CONFIGURATION.test(name) && name < CONFLIST)
  const isCopy = (name: string) =>
    readableConflist(readIfPossible(files, `${confDir}/${name}`))?.plugins.some(isOwn)
  const others = before.sort().filter((name) => !isCopy(name))
  return others.map(
    (name) =>
      `${confDir}/${name} sorts before ${CONFLIST}, so the container runtime uses that network; to use Bowline, run: mv ${confDir}/${name} ${confDir}/${name}.off`,
  )
}

/** Returns undefined for what is no file or too large: a file of others must not make an installation fail. */
function readIfPossible(files: Files, path: string): string | undefined {
  try {
    return files.readForeign(path)
  } catch (error) {
    if (error instanceof Fault) return undefined
    throw error
  }
}

/** Compares four bytes at a time, as the program has 2.5 million of them; its length is a multiple of eight. */
function isSameProgram(one: Uint8Array, other: Uint8Array | undefined): boolean {
  if (other?.length !== one.length) return false
  const [a, b] = [one, other].map((bytes) => new Uint32Array(bytes.buffer, 0, bytes.length >> 2))
  return a !== undefined && b !== undefined && a.every((word, at) => word === b[at])
}
