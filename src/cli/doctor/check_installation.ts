import { isOwn } from '../../cni/conflist.ts'
import type { CommandContext } from '../command.ts'
import { IPAM_LINK, type Places, PROGRAM } from '../installation.ts'
import type { NetworkFile } from '../networks.ts'
import { error, type Finding, warning } from './finding.ts'

/** SELinux lets a runtime execute files with these types. Source: container-selinux, /opt/cni/bin in its file contexts. */
const EXECUTABLE_TYPES = ['bin_t', 'container_runtime_exec_t', 'usr_t']

/** Returns what is wrong with the files of plugins and networks. */
export function checkInstallation(
  { plugins, files, machine }: CommandContext,
  { binDir, confDir }: Places,
  networks: readonly NetworkFile[],
): Finding[] {
  const own = networks.filter(({ text }) => text !== undefined)
  return [...conflicts(networks, own, confDir), ...(own.length > 0 ? checkPrograms() : [])]

  function checkPrograms(): Finding[] {
    const types = own.flatMap(({ list }) => list?.plugins.map(({ type }) => type) ?? [])
    const wanted = [...new Set([PROGRAM, IPAM_LINK, ...types])].map((name) => `${binDir}/${name}`)
    return wanted.flatMap((path): Finding[] => {
      const isOwnProgram = [PROGRAM, IPAM_LINK].some((name) => path === `${binDir}/${name}`)
      if (files.modeOf(path) === undefined) {
        const hint = isOwnProgram
          ? `bowline install --bin-dir ${binDir}`
          : `ls ${binDir} # and install the CNI plugins of containernetworking there`
        return [error('program', `${path} is missing`, hint)]
      }
      if (!plugins.isExecutable(path)) {
        return [error('program', `${path} may not be executed`, `chmod 755 ${path}`)]
      }
      return labelFinding(path, machine.selinuxLabel(path))
    })
  }
}

/** Returns what is wrong with the SELinux label of a plugin. There is none where SELinux is off. */
export function labelFinding(path: string, label: string): Finding[] {
  const type = label.split(':')[2]
  if (type === undefined || EXECUTABLE_TYPES.includes(type)) return []
  return [
    warning(
      'selinux',
      `${path} has the SELinux type ${type}: a runtime in a domain of its own may not execute it`,
      `restorecon -v ${path} || chcon -t bin_t ${path}`,
    ),
  ]
}

function conflicts(
  networks: readonly NetworkFile[],
  own: readonly NetworkFile[],
  confDir: string,
): Finding[] {
  const off = (file: string) => `mv ${file} ${file}.off`
  const first = networks[0]
  const found: Finding[] = networks.flatMap(({ file, name, list, fault }, i): Finding[] => {
    if (fault || !list) {
      const why = fault
        ? `is refused: ${[fault.message, fault.hint].filter(Boolean).join('. ')}`
        : 'is not JSON of a network'
      const level = i === 0 || fault ? 'error' : 'warning'
      return [{ check: 'conflist', level, message: `${file} ${why}`, hint: off(file) }]
    }
    const same = networks.slice(0, i).find((one) => one.name === name)
    if (!same || !list.plugins.some(isOwn)) return []
    const message = `${same.file} and ${file} are both network ${name}, whose leases and records they share`
    return [error('conflist', message, off(file))]
  })
  if (own.length === 0) {
    const message = `no network in ${confDir} is of the plugin ${PROGRAM}`
    const hint = 'bowline install --conf "$PWD/10-bowline.conflist"'
    return [...found, error('conflist', message, hint)]
  }
  if (first && !first.list?.plugins.some(isOwn) && first.list) {
    const message = `${first.file} sorts first, so the container runtime uses that network for pods`
    return [...found, warning('conflist', message, off(first.file))]
  }
  return found
}
