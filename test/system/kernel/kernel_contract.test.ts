import { beforeAll } from 'vitest'
import { createLinuxKernel } from '../../../src/kernel/linux/kernel.ts'
import { describeKernelContract, type KernelUnderTest } from '../../contract/kernel.ts'
import { enterPrivateNamespaces, run } from '../../support/node/private_namespaces.ts'
import { makeNetns, unmakeNetns } from '../../support/node/quick_netns.ts'

const PLAIN_FILE = '/run/plain-file'
let vlans = false

beforeAll(() => {
  enterPrivateNamespaces()
  run(`touch ${PLAIN_FILE}`)
  vlans = hasVlans()
})

describeKernelContract('Linux', linuxUnderTest)

const linux = createLinuxKernel()
let isNftUsed = false
/** Only what a sentence has asked nftables for is to be removed after it. */
const kernel: typeof linux = Object.create(linux, {
  nftables: {
    get() {
      isNftUsed = true
      return linux.nftables
    },
  },
})
let count = 0
const made = new Set<string>()

function linuxUnderTest(): KernelUnderTest {
  const removeNetns = (path: string): void => {
    unmakeNetns(path)
    made.delete(path)
  }
  return {
    kernel,
    vlans,
    missing: '/run/netns/none',
    plainFile: PLAIN_FILE,
    otherNamespace: '/proc/self/ns/uts',
    makeNetns() {
      const path = makeNetns(`pod${++count}`)
      made.add(path)
      return path
    },
    removeNetns,
    cleanup() {
      for (const path of made) removeNetns(path)
      if (isNftUsed) run('nft flush ruleset')
      isNftUsed = false
    },
  }
}

/** Asks the kernel itself, by another tool than ours: small virtual machines are often built without VLANs. */
function hasVlans(): boolean {
  try {
    run('ip link add probe type bridge vlan_filtering 1; ip link add link probe name probe.1 type vlan id 1')
    return true
  } catch {
    return false
  } finally {
    run('ip link del probe || true')
  }
}
