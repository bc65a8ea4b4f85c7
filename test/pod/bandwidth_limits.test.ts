import { describe, expect, it } from 'vitest'
import type { NetworkConfig } from '../../src/cni/config.ts'
import { parseCidr } from '../../src/core/address.ts'
import { limitsOf, tbfOf } from '../../src/pod/features/bandwidth/limits.ts'

const NAMED = { ingressRate: 8e6, ingressBurst: 1e6, egressRate: 16e6, egressBurst: 2e6 }
const BASE: NetworkConfig = { cniVersion: '1.1.0', name: 'net' }
const NET = parseCidr('10.0.0.1/8')

describe('the limits of a pod', () => {
  it('are those of the runtime, where the config has none', () => {
    expect(limitsOf({ ...BASE, runtimeConfig: { bandwidth: NAMED } })).toMatchObject({
      ingress: { rate: 8e6, burst: 1e6 },
      egress: { rate: 16e6, burst: 2e6 },
    })
  })

  it('are those of the config alone, where it has any', () => {
    const config = { ...BASE, egressRate: 8, egressBurst: 8, runtimeConfig: { bandwidth: NAMED } }
    expect(limitsOf(config)).toEqual({ egress: { rate: 8, burst: 8 }, shaped: [], unshaped: [] })
  })

  it('are none for rates of 0', () => {
    expect(limitsOf({ ...BASE, ingressRate: 0, ingressBurst: 0 })).toBeUndefined()
    expect(limitsOf(BASE)).toBeUndefined()
  })

  it('have the subnets of the config, without their host bits, for rates of the runtime too', () => {
    const config = { ...BASE, unshapedSubnets: [NET], runtimeConfig: { bandwidth: NAMED } }
    expect(limitsOf(config)?.unshaped).toEqual([parseCidr('10.0.0.0/8')])
  })
})

describe('the bucket of a limit', () => {
  it.each([
    ['of containerd', 2 ** 32 - 1],
    ['of CRI-O', 2 ** 35 - 9],
  ])('holds 10 ms of the rate for the burst %s, which means none', (_, burst) => {
    expect(tbfOf({ rate: 1e9, burst }, 1500)).toMatchObject({ rate: 125e6, burst: 1_250_000 })
  })

  it('holds ten packets at least, unless a burst is named', () => {
    expect(tbfOf({ rate: 1e6, burst: 2 ** 32 - 1 }, 1500).burst).toBe(15_140)
    expect(tbfOf({ rate: 1e6, burst: 80_000 }, 1500).burst).toBe(10_000)
  })

  it('holds a packet, whatever burst is named: else nothing would ever pass', () => {
    expect(tbfOf({ rate: 8, burst: 8 }, 9000)).toMatchObject({ rate: 1, burst: 9014 })
  })

  it('never holds more than the kernel can count', () => {
    const { burst, limit } = tbfOf({ rate: 1e15, burst: 2 ** 35 - 100 }, 1500)
    expect(burst).toBeLessThan(2 ** 32)
    expect(limit).toBeLessThan(2 ** 32)
    expect(tbfOf({ rate: 1e6, burst: 2 ** 34 }, 1500).burst).toBe(25_000_000)
  })

  it('comes with a queue that takes a packet of 64 KiB if the bucket does', () => {
    for (const burst of [2 ** 32 - 1, 8 * 70_000, 8 * 1e6]) {
      const qdisc = tbfOf({ rate: 1e6, burst }, 1500)
      if (qdisc.burst >= 65_536) expect(qdisc.limit).toBeGreaterThan(65_536)
      expect(qdisc.limit).toBeGreaterThan(qdisc.rate * 0.025)
    }
  })
})
