import { describe, expect, it } from 'vitest'
import { Code } from '../../src/core/errors.ts'
import { createFakeNode } from '../fakes/node.ts'

const calledAs = 'bowline-ipam'

describe('CHECK of the IPAM plugin', () => {
  it('looks without a lock', () => {
    const node = createFakeNode()
    node.call('ADD', { calledAs })
    node.files.lock('/var/lib/cni/networks/net/lock', 0)
    expect(node.call('CHECK', { calledAs })).toMatchObject({ exitCode: 0 })
    expect(node.files.waitedMs).toBe(0)
  })

  it('fails when the address is another’s by now', () => {
    const node = createFakeNode()
    node.call('ADD', { calledAs })
    node.files.replace('/var/lib/cni/networks/net/10.1.0.2', 'c2\r\neth0')
    expect(node.call('CHECK', { calledAs }).json).toMatchObject({ code: Code.checkFailed })
  })
})

describe('ADD of the IPAM plugin', () => {
  it('gives an attachment whose first ADD was killed at any step the same address, without a DEL', () => {
    let retries = 0
    for (let step = 1; step < 200; step++) {
      const node = createFakeNode()
      node.stopAt(step, 'SIGKILL')
      const before = node.steps()
      node.call('ADD', { calledAs })
      node.revive()
      const isOver = node.steps() - before < step
      const { exitCode, json } = node.call('ADD', { calledAs })
      if (exitCode === 0) {
        retries++
        expect(json['ips'], `killed at step ${step}`).toMatchObject([{ address: '10.1.0.2/24' }, {}])
      } else {
        // Killed after the last word was written: the addresses are given.
        expect(json, `killed at step ${step}`).toMatchObject({ code: Code.addressInUse })
        expect(node.call('CHECK', { calledAs })).toMatchObject({ exitCode: 0 })
      }
      expect(node.call('DEL', { calledAs })).toMatchObject({ exitCode: 0 })
      expect(node.residue()).toEqual([])
      if (isOver) break
    }
    expect(retries).toBeGreaterThan(10)
  })
})
