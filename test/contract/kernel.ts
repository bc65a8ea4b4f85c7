import { afterEach, beforeEach, describe } from 'vitest'
import { addressSentences } from './kernel/addresses.ts'
import { batchSentences } from './kernel/batches.ts'
import { bridgeSentences } from './kernel/bridges.ts'
import { KernelFixture, type KernelUnderTest } from './kernel/fixture.ts'
import { linkSentences } from './kernel/links.ts'
import { namespaceSentences } from './kernel/namespaces.ts'
import { neighbourSentences } from './kernel/neighbours.ts'
import { nftSentences } from './kernel/nft.ts'
import { routeSentences } from './kernel/routes.ts'
import { sysctlSentences } from './kernel/sysctls.ts'

export type { KernelUnderTest } from './kernel/fixture.ts'

/** What every implementation of the kernel port must do. Where they differ, the real kernel is right. */
export function describeKernelContract(name: string, makeSubject: () => KernelUnderTest): void {
  describe(`the kernel port on ${name}`, () => {
    let current: KernelFixture
    beforeEach(() => {
      current = new KernelFixture(makeSubject())
    })
    afterEach(() => current.close())
    const fixture = () => current

    describe('namespaces', () => namespaceSentences(fixture))
    describe('links', () => linkSentences(fixture))
    describe('bridges and VLANs', () => bridgeSentences(fixture))
    describe('addresses', () => addressSentences(fixture))
    describe('routes', () => routeSentences(fixture))
    describe('neighbours', () => neighbourSentences(fixture))
    describe('sysctls', () => sysctlSentences(fixture))
    describe('batches', () => batchSentences(fixture))
    describe('nftables', () => nftSentences(fixture))
  })
}
