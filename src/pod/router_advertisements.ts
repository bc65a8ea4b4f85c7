import type { Netns } from '../kernel/kernel.ts'

/**
 * Keeps the host from taking routes and addresses from a pod: on a link of ours a router advertisement is a pod's, and
 * a host that does not forward IPv6 would believe it (CVE-2020-10749). To be called before the link is up. Nothing is to
 * be done on a host without IPv6.
 */
export function refuseAdvertisements(host: Netns, ifName: string): void {
  const key = `ipv6/conf/${ifName}/accept_ra`
  try {
    host.writeSysctl(key, '0')
  } catch (error) {
    const value = host.readSysctl(key)
    if (value !== undefined && value !== '0') throw error
  }
}
