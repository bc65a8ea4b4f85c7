import { describe, expect, it } from 'vitest'
import { Code } from '../../src/core/errors.ts'
import { createFakeNode, L2, L3 } from '../fakes/node.ts'

const { ipam: _, ...BARE } = L2
const TWO_OF_A_FAMILY = {
  ...L3.ipam,
  ranges: [[{ subnet: '10.1.0.0/24' }], [{ subnet: '10.2.0.0/24' }]],
}

/** Before 0.3.0 a result has one address of each family, and at least one. */
describe.each(['0.1.0', '0.2.0'])('version %s', (cniVersion) => {
  it('is refused a network without addresses before any change', () => {
    const node = createFakeNode()
    const before = [node.kernel.dump(), node.files.dump()]
    const { json } = node.call('ADD', { config: { ...BARE, cniVersion } })
    expect(json).toMatchObject({ code: Code.invalidConfig, msg: 'cannot convert: no valid IP addresses' })
    expect([node.kernel.dump(), node.files.dump()]).toEqual(before)
    expect(node.call('DEL', { config: { ...BARE, cniVersion } })).toMatchObject({ exitCode: 0 })
  })

  it.each(['bowline', 'bowline-ipam'])(
    'is refused two addresses of a family by %s, which changes nothing',
    (calledAs) => {
      const node = createFakeNode()
      const before = node.kernel.dump()
      const config = { ...L3, cniVersion, ipam: TWO_OF_A_FAMILY }
      expect(node.call('ADD', { calledAs, config }).json).toMatchObject({
        code: Code.invalidConfig,
        msg: expect.stringContaining('room for one address of each family'),
      })
      expect(node.kernel.dump()).toEqual(before)
      expect(node.residue()).toEqual([])
      expect(node.call('DEL', { calledAs, config })).toMatchObject({ exitCode: 0 })
    },
  )

  it('has one address of each family', () => {
    const { json } = createFakeNode().call('ADD', { config: { ...L3, cniVersion } })
    expect(json).toMatchObject({ ip4: { ip: '10.1.0.2/24' }, ip6: { ip: 'fd00:1::2/64' } })
  })
})

describe('version 0.3.0', () => {
  it('may have no address, and two of a family', () => {
    const cniVersion = '0.3.0'
    expect(createFakeNode().call('ADD', { config: { ...BARE, cniVersion } })).toMatchObject({ exitCode: 0 })
    const { json } = createFakeNode().call('ADD', { config: { ...L2, cniVersion, ipam: TWO_OF_A_FAMILY } })
    expect(json['code']).toBe(undefined)
  })
})
