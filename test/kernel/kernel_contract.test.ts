import { describeKernelContract, type KernelUnderTest } from '../contract/kernel.ts'
import { createFakeKernel } from '../fakes/kernel.ts'

describeKernelContract('the fake', fakeUnderTest)

function fakeUnderTest(): KernelUnderTest {
  const kernel = createFakeKernel()
  const [plainFile, otherNamespace] = ['/tmp/file', '/proc/self/ns/uts']
  kernel.placeFile(plainFile)
  kernel.placeFile(otherNamespace)
  let count = 0
  return {
    kernel,
    vlans: true,
    missing: '/run/netns/none',
    plainFile,
    otherNamespace,
    makeNetns() {
      const path = `/run/netns/pod${++count}`
      kernel.makeNetns(path)
      return path
    },
    removeNetns: (path) => kernel.removeNetns(path),
    cleanup: () => {},
  }
}
