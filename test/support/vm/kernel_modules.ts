import { existsSync, readdirSync, readFileSync } from 'node:fs'

/** The distribution's kernel as scripts/setup has unpacked it. */
export type GuestKernel = {
  /** The file that QEMU boots. */
  readonly image: string
  /** Such as `6.1.0-56-amd64`. */
  readonly release: string
  /** The directory that holds its modules and `modules.dep`. */
  readonly modules: string
}

/** The newest kernel below `root`. Throws an Error that says how to get one. */
export function findGuestKernel(root: string): GuestKernel {
  const names = existsSync(`${root}/boot`) ? readdirSync(`${root}/boot`) : []
  const releases = names.flatMap((name) => /^vmlinuz-(.*)/.exec(name)?.[1] ?? [])
  const release = releases.toSorted((a, b) => a.localeCompare(b, 'en', { numeric: true })).at(-1)
  // Debian 13 keeps modules below usr/lib.
  const places = ['lib', 'usr/lib'].map((directory) => `${root}/${directory}/modules/${release}`)
  const modules = places.find((place) => existsSync(`${place}/modules.dep`))
  if (release && modules) return { image: `${root}/boot/vmlinuz-${release}`, release, modules }
  throw new Error(`there is no kernel for the virtual machine in ${root}: run scripts/setup test`)
}

/**
 * The files of these modules and of all that they depend on, relative to `modules`. A name is that of a module, or a
 * directory such as `kernel/net/`, for all in it. What is built into the kernel has no file.
 */
export function moduleFiles({ modules }: Pick<GuestKernel, 'modules'>, names: readonly string[]): string[] {
  const dependencies = readDependencies(modules)
  const builtin = readFileSync(`${modules}/modules.builtin`, 'utf8')
  const wanted = names.flatMap((name) => {
    const inside = [...dependencies.keys()].filter((path) =>
      name.endsWith('/') ? path.startsWith(name) : nameOf(path) === name,
    )
    if (inside.length > 0 || builtin.includes(`/${name}.ko`)) return inside
    throw new Error(`the kernel in ${modules} has no module ${name}`)
  })
  const found = new Set<string>()
  // Grows while it is walked: each path once, so that it ends.
  for (const path of wanted) {
    if (found.has(path)) continue
    found.add(path)
    wanted.push(...(dependencies.get(path) ?? []))
  }
  return [...found]
}

/** `modules.dep`: a line for each module, `PATH: PATH PATH …`. */
function readDependencies(modules: string): Map<string, string[]> {
  const lines = readFileSync(`${modules}/modules.dep`, 'utf8').trim().split('\n')
  return new Map(
    lines.map((line) => {
      const [path = '', needs = ''] = line.split(':')
      return [path, needs.split(' ').filter(Boolean)]
    }),
  )
}

function nameOf(path: string): string {
  return /([^/]+)\.ko(\.\w+)?$/.exec(path)?.[1] ?? path
}
