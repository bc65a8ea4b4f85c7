import { afterEach, beforeEach, describe } from 'vitest'
import { addressSentences } from './kernel/addresses.ts'
import { batchSentences } from './kernel/batches.ts'
import { bridgeSentences } from './kernel/bridges.ts'
import { type KernelWorld, Lab } from './kernel/fixture.ts'
import { linkSentences } from './kernel/links.ts'
import { namespaceSentences } from './kernel/namespaces.ts'
import { neighbourSentences } from './kernel/neighbours.ts'
import { nftSentences } from './kernel/nft.ts'
import { routeSentences } from './kernel/routes.ts'
import { sysctlSentences } from './kernel/sysctls.ts'

export type { KernelWorld } from './kernel/fixture.ts'

/** What every implementation of the kernel port must do. Where they differ, the real kernel is right. */
export function describeKernelContract(name: string, makeWorld: () => KernelWorld): void {
  describe(`the kernel port on ${name}`, () => {
    let current: Lab
    beforeEach(() => {
      current = new Lab(makeWorld())
    })
    afterEach(() => current.close())
    const lab = () => current

    describe('namespaces', () => namespaceSentences(lab))
    describe('links', () => linkSentences(lab))
    describe('bridges and VLANs', () => bridgeSentences(lab))
    describe('addresses', () => addressSentences(lab))
    describe('routes', () => routeSentences(lab))
    describe('neighbours', () => neighbourSentences(lab))
    describe('sysctls', () => sysctlSentences(lab))
    describe('batches', () => batchSentences(lab))
    describe('nftables', () => nftSentences(lab))
  })
}
