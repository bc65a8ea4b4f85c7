import { formatAddress } from '../../core/address.ts'
import { Code, Fault } from '../../core/errors.ts'
import type { Sysctl } from '../../core/shell.ts'
import { AddressFlag, type Kernel, type LinkAddress, type Netns } from '../../kernel/kernel.ts'
import { familiesOf, type PodSpec } from '../spec.ts'
import { isWritable, writingSysctls } from '../sysctls.ts'
import type { NodePorts, PodEnd, PodFeature } from './feature.ts'

/** As long as the reference plugin waits; with the kernel's defaults detection takes 1 to 2 s. */
const TIMEOUT_MS = 5000
const STEP_MS = 20

/** Lets the kernel look whether another machine has an IPv6 address of the pod, and waits for the answer. */
export function duplicateDetection({ kernel }: NodePorts): PodFeature {
  return {
    podKeys: ['enabledad'],
    beforeAddresses(spec, { netns, link }) {
      if (isOn(spec)) enableDetection(netns, link.name)
    },
    podEnd: (spec, objects) =>
      isOn(spec) ? objects.map((one) => (one.kind === 'address' ? { ...one, noDad: false } : one)) : objects,
    afterLink(spec, _, pod) {
      if (pod && isOn(spec)) awaitDetection(kernel, pod)
    },
  }
}

function isOn({ config, ips }: PodSpec): boolean {
  return config.enabledad === true && familiesOf(ips).includes(6)
}

/** Makes the kernel look for duplicates on this link, whatever the namespace's defaults say. */
function enableDetection(netns: Netns, ifName: string): void {
  // Enhanced: a frame of our own that comes back is not taken for another machine's (RFC 7527). Before Linux 4.10: none.
  for (const leaf of ['enhanced_dad', 'accept_dad']) {
    const settings: Sysctl[] = [[`ipv6/conf/default/${leaf}`, '1']]
    writingSysctls('look for duplicates', "in the pod's network namespace", settings, () =>
      enable(netns, `ipv6/conf/${ifName}/${leaf}`),
    )
  }
}

/** Both are on in a new namespace: nothing has to be written where nothing can be. */
function enable(netns: Netns, key: string): void {
  try {
    netns.writeSysctl(key, '1')
  } catch (error) {
    const value = netns.readSysctl(key)
    if (value === '0' || (value !== undefined && isWritable(netns, key))) throw error
  }
}

/**
 * Waits until duplicate detection is over for every IPv6 address of the pod's link. Throws a Fault when another machine
 * has one of them, or when it is not over in time.
 */
function awaitDetection(kernel: Kernel, { netns, link: { index, name } }: PodEnd): void {
  for (let waitedMs = 0; ; waitedMs += STEP_MS) {
    const addresses = netns.addresses(index)
    const duplicate = addresses.find((address) => has(address, AddressFlag.dadFailed))
    if (duplicate) throw duplicateFault(duplicate, name)
    const pending = addresses.find((address) => has(address, AddressFlag.tentative))
    if (!pending) return
    if (waitedMs >= TIMEOUT_MS) throw pendingFault(pending, name)
    kernel.pause(STEP_MS)
  }
}

function has({ flags }: LinkAddress, flag: number): boolean {
  return (flags & flag) !== 0
}

function duplicateFault({ cidr: { address } }: LinkAddress, ifName: string): Fault {
  const text = formatAddress(address)
  return new Fault(
    `${text} is in use: IPv6 duplicate address detection on ${ifName} has heard of another machine`,
    {
      code: Code.addressInUse,
      hint: `Find out who answers (ip -6 neigh show ${text}), or leave that address out of "ipam.ranges".`,
    },
  )
}

function pendingFault({ cidr: { address } }: LinkAddress, ifName: string): Fault {
  return new Fault(
    `duplicate address detection of ${formatAddress(address)} on ${ifName} was not over after ${TIMEOUT_MS} ms`,
    {
      code: Code.tryLater,
      hint: 'Look at net.ipv6.conf.*.dad_transmits and at the bridge; without "enabledad" nothing is waited for.',
    },
  )
}
