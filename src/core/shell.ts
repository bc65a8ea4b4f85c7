/*
 * Commands that root types into a POSIX shell. Names and paths may come from a configuration, so every character that has
 * a meaning to the shell is quoted.
 */

/** Returns a text as one word for a POSIX shell. */
export function quote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}

/** A setting below /proc/sys/net and its value: `key` is a path such as `ipv6/conf/eth0/accept_ra`. */
export type Sysctl = readonly [key: string, value: string]

/** Returns the command that makes these settings. */
export function sysctlCommand(...settings: readonly Sysctl[]): string {
  const words = settings.map(([key, value]) => quote(`${sysctlName(key)}=${value}`))
  return `sysctl -w ${words.join(' ')}`
}

/** Returns the name with dots, as `sysctl -a` prints it, unless one of its parts has a dot itself: `net/ipv4/conf/eth0.100/forwarding`. */
export function sysctlName(key: string): string {
  return `net/${key}`.replaceAll('/', key.includes('.') ? '/' : '.')
}
