import {
  type Conflist,
  isOwn,
  isSameJson,
  mergeConflist,
  ownConfigs,
  parseConflist,
  printConflist,
  readableConflist,
} from '../cni/conflist.ts'
import { Code, Fault } from '../core/errors.ts'
import { textBytes } from '../core/text.ts'
import type { Command, CommandContext, Options } from './command.ts'
import {
  CONFLIST,
  INSTALL_OPTIONS,
  IPAM_LINK,
  type Places,
  PROGRAM,
  placesOf,
  readConf,
  report,
  withInstallLock,
} from './installation.ts'

/** The program that runs, whatever became of the path by which it was started. */
const OWN_PROGRAM = '/proc/self/exe'
const PROGRAM_MODE = 0o755
const CONFLIST_MODE = 0o644
/** What libcni takes for a configuration. */
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
  return report({ program, conflist, warnings: warningsFor(places, context) }, places, options, context)
}

/** Throws a Fault, before anything is touched, if a runtime that used this list could not start a pod. */
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

/** The old program may be running: it is replaced by a rename, and lives on until its calls have ended. */
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

/** Last of all, and only when it says something new: whoever watches the file would take any write for a change. */
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
  files.publish(conflist, textBytes(printConflist(merged)), files.modeOf(conflist) ?? CONFLIST_MODE)
  return 'installed'
}

/** The runtime uses the file that comes first. One that calls us with our configuration copied is a mesh's, and right. */
function warningsFor({ confDir }: Places, { files }: CommandContext): string[] {
  const before = files.list(confDir).filter((name) => CONFIGURATION.test(name) && name < CONFLIST)
  const others = before.sort().filter((name) => {
    const list = readableConflist(files.readForeign(`${confDir}/${name}`))
    return !list?.plugins.some(isOwn)
  })
  return others.map(
    (name) =>
      `${confDir}/${name} sorts before ${CONFLIST}, so the container runtime uses that network; to use Bowline, run: mv ${confDir}/${name} ${confDir}/${name}.off`,
  )
}

/** Four bytes at a time: the program is a whole number of them, two and a half million bytes. */
function isSameProgram(one: Uint8Array, other: Uint8Array | undefined): boolean {
  if (other?.length !== one.length) return false
  const [a, b] = [one, other].map((bytes) => new Uint32Array(bytes.buffer, 0, bytes.length >> 2))
  return a !== undefined && b !== undefined && a.every((word, at) => word === b[at])
}
