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
