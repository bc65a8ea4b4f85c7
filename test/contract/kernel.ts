import { afterEach, beforeEach, describe, it as test } from 'vitest'
import { addressSentences } from './kernel/addresses.ts'
import { batchSentences } from './kernel/batches.ts'
import { bridgeSentences } from './kernel/bridges.ts'
import { type It, KernelFixture, type KernelUnderTest } from './kernel/fixture.ts'
import { linkSentences } from './kernel/links.ts'
import { namespaceSentences } from './kernel/namespaces.ts'
import { neighbourSentences } from './kernel/neighbours.ts'
import { nftSentences } from './kernel/nft.ts'
import { routeSentences } from './kernel/routes.ts'
import { sysctlSentences } from './kernel/sysctls.ts'
import { trafficSentences } from './kernel/traffic.ts'
import { vxlanSentences } from './kernel/vxlan.ts'

export type { KernelUnderTest } from './kernel/fixture.ts'

/** What every implementation of the kernel port must do. Where they differ, the real kernel is right. */
export function describeKernelContract(name: string, makeSubject: () => KernelUnderTest): void {
  describe(`the kernel port on ${name}`, () => {
    let current: KernelFixture
    beforeEach(() => {
      current = new KernelFixture(makeSubject())
    })
    afterEach(() => current.close())
    const it: It = (sentence, proof) => test(sentence, () => proof(current))

    describe('namespaces', () => namespaceSentences(it))
    describe('links', () => linkSentences(it))
    describe('bridges and VLANs', () => bridgeSentences(it))
    describe('addresses', () => addressSentences(it))
    describe('routes', () => routeSentences(it))
    describe('neighbours', () => neighbourSentences(it))
    describe('VXLAN links', () => vxlanSentences(it))
    describe('traffic control', () => trafficSentences(it))
    describe('sysctls', () => sysctlSentences(it))
    describe('batches', () => batchSentences(it))
    describe('nftables', () => nftSentences(() => current))
  })
}
