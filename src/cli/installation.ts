import { type Conflist, printConflist } from '../cni/conflist.ts'
import { Code, Fault, isErrno, withAction } from '../core/errors.ts'
import { type Files, isPlainPath } from '../core/files.ts'
import { textBytes } from '../core/text.ts'
import { VERSION } from '../core/version.ts'
import type { CommandContext, Option, Options } from './command.ts'

/** The files of an installation. */
export const PROGRAM = 'bowline'
export const IPAM_LINK = 'bowline-ipam'
/** The running program, even if the path by which it was started is another file by now. */
export const OWN_PROGRAM = '/proc/self/exe'
/** Sorts after `02-istio-cni.conflist`, which copies the file behind it. A `.conf` would be renamed by a mesh. */
export const CONFLIST = '10-bowline.conflist'

const CONFLIST_MODE = 0o644

/** Longer than a call of the plugin may wait: on a busy disk each installation flushes 2.6 MB for a second. */
const LOCK_TIMEOUT_MS = 60_000

export const CONF_DIR_OPTION: Readonly<Record<string, Option>> = {
  'conf-dir': {
    value: 'DIR',
    help: 'where the runtime looks for networks (default /etc/cni/net.d)',
  },
}

export const PLACE_OPTIONS: Readonly<Record<string, Option>> = {
  'bin-dir': { value: 'DIR', help: 'where the runtime looks for plugins (default /opt/cni/bin)' },
  ...CONF_DIR_OPTION,
}

export const INSTALL_OPTIONS: Readonly<Record<string, Option>> = {
  ...PLACE_OPTIONS,
  conf: { value: 'FILE', help: 'the network configuration list; - is standard input' },
}

export type Places = { readonly binDir: string; readonly confDir: string; readonly conflist: string }

/** Returns where things are installed. Throws a Fault for a path that is not absolute: other processes use it too. */
export function placesOf(options: Options): Places {
  const binDir = directory(options, 'bin-dir', '/opt/cni/bin')
  const confDir = confDirOf(options)
  return { binDir, confDir, conflist: `${confDir}/${CONFLIST}` }
}

export function confDirOf(options: Options): string {
  return directory(options, 'conf-dir', '/etc/cni/net.d')
}

/** Runs `work` while no other process installs or uninstalls. */
export function withInstallLock<T>({ files, recordsDir }: CommandContext, work: () => T): T {
  files.ensureDirectory(recordsDir)
  const lock = files.lock(`${recordsDir}/install.lock`, LOCK_TIMEOUT_MS)
  try {
    return work()
  } finally {
    lock.release()
  }
}

/** Returns the text of `--conf`. Throws a Fault if there is no such file. */
export function readConf(file: string, { files, readStdin }: CommandContext): string {
  if (file === '-') return readStdin()
  if (!isPlainPath(file)) throw notAbsolute('conf', file)
  const hint = 'Give the path of a network configuration list, such as conf/10-bowline.conflist.'
  const text = withAction(`--conf ${file}`, () => files.readForeign(file), { hint })
  if (text !== undefined) return text
  throw new Fault(`--conf ${file}: there is no such file`, { code: Code.invalidConfig, hint })
}

/** Writes a conflist in place of the one that is there. Throws a Fault for a link: its target is somebody else's to write, or read-only. */
export function publishConflist(files: Files, path: string, list: Conflist): void {
  if (isLink(files, path)) {
    throw new Fault(`${path} is a symbolic link, and what it leads to does not say the same`, {
      code: Code.io,
      hint: `Change the file that ${path} leads to, or remove the link: rm ${path}`,
    })
  }
  files.publish(path, textBytes(printConflist(list)), files.modeOf(path) ?? CONFLIST_MODE)
}

/** No file of ours is behind a link, so the port follows none. */
function isLink(files: Files, path: string): boolean {
  try {
    files.readAt(path, 0, 1)
    return false
  } catch (error) {
    return isErrno(error, 'ELOOP')
  }
}

/** Prints what became of program and conflist, and returns the exit code. */
export function report(
  outcome: { readonly program: string; readonly conflist: string; readonly warnings: readonly string[] },
  { binDir, conflist }: Places,
  options: Options,
  { print, warn }: CommandContext,
): number {
  if (options['json'] !== undefined) print(JSON.stringify({ version: VERSION, ...outcome }))
  else {
    print(`${binDir}/${PROGRAM}: ${outcome.program}\n${conflist}: ${outcome.conflist}`)
    for (const warning of outcome.warnings) warn(`warning: ${warning}`)
  }
  return 0
}

function directory(options: Options, name: string, otherwise: string): string {
  const path = options[name] ?? otherwise
  if (!isPlainPath(path)) throw notAbsolute(name, path)
  return path.replace(/(?<=.)\/+$/, '')
}

export function notAbsolute(name: string, path: string): Fault {
  return new Fault(`--${name} ${JSON.stringify(path)} is not an absolute path`, {
    code: Code.invalidEnvironment,
    hint: `Write it like --${name} "$PWD/${path.replace(/^(.*\/)?\.{1,2}\//, '') || name}".`,
  })
}
