import { beforeAll } from 'vitest'
import { createLinuxKernel } from '../../../src/kernel/linux/kernel.ts'
import { describeKernelContract, type KernelUnderTest } from '../../contract/kernel.ts'
import { enterPrivateNamespaces, run } from '../../support/node/private_namespaces.ts'

const PLAIN_FILE = '/run/plain-file'
let vlans = false

beforeAll(() => {
  enterPrivateNamespaces()
  run(`touch ${PLAIN_FILE}`)
  vlans = hasVlans()
})

describeKernelContract('Linux', linuxUnderTest)

const kernel = createLinuxKernel()
let count = 0

function linuxUnderTest(): KernelUnderTest {
  return {
    kernel,
    vlans,
    missing: '/run/netns/none',
    plainFile: PLAIN_FILE,
    otherNamespace: '/proc/self/ns/uts',
    makeNetns() {
      const name = `pod${++count}`
      run(`ip netns add ${name}`)
      return `/run/netns/${name}`
    },
    removeNetns: (path) => void run(`ip netns del ${path.slice(path.lastIndexOf('/') + 1)}`),
    cleanup: () => void run('ip -all netns delete; nft flush ruleset'),
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
