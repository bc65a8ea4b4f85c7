/* Commands that run a plugin, see `PluginCall.inside`, where /proc/sys is not as usual. Nobody else sees that. */

/** Nothing below /proc/sys can be written, as in a container without privileges. */
export const READ_ONLY_SYSCTLS = inMounts(
  'mount --bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys',
)

/** As on a kernel that was booted with ipv6.disable=1. */
export const NO_IPV6_SYSCTLS = inMounts('mount -t tmpfs tmpfs /proc/sys/net/ipv6')

function inMounts(script: string): readonly string[] {
  return ['unshare', '--mount', 'sh', '-ec', `${script}; exec "$@"`, 'sh']
}
