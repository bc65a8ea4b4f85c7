import { describe, expect } from 'vitest'
import { errnoOf, FAMILIES, type It, MAC, neighboursOf } from './fixture.ts'

export function neighbourSentences(it: It): void {
  describe.each(FAMILIES.map((one) => [one.family, one] as const))('of %s', (_, { gateway: address }) => {
    it('are made on a link that is up, and replaced', ({ a, index: linkIndex }) => {
      a.apply([{ op: 'setNeighbour', neighbour: { address, mac: MAC.far, linkIndex } }])
      expect(neighboursOf(a, linkIndex, address)).toEqual([MAC.far])
      a.apply([{ op: 'setNeighbour', neighbour: { address, mac: MAC.other, linkIndex } }])
      expect(neighboursOf(a, linkIndex, address)).toEqual([MAC.other])
    })

    it('are made on a link that is down, and kept when it comes up', ({ a, pair }) => {
      const linkIndex = pair().near.index
      a.apply([{ op: 'setNeighbour', neighbour: { address, mac: MAC.far, linkIndex } }])
      a.apply([{ op: 'setLink', link: { index: linkIndex }, up: true }])
      expect(neighboursOf(a, linkIndex, address)).toEqual([MAC.far])
    })

    it('go when the link goes down, permanent as they are', ({ a, index: linkIndex }) => {
      a.apply([
        { op: 'setNeighbour', neighbour: { address, mac: MAC.far, linkIndex } },
        { op: 'setLink', link: { index: linkIndex }, up: false },
      ])
      expect(neighboursOf(a, linkIndex, address)).toEqual([])
    })

    it('are refused with ENODEV on a link that does not exist', ({ a }) => {
      const neighbour = { address, mac: MAC.far, linkIndex: 4711 }
      expect(errnoOf(() => a.apply([{ op: 'setNeighbour', neighbour }]))).toBe('ENODEV')
    })

    it('are those of one link only', ({ a, index: linkIndex, createBridge }) => {
      a.apply([{ op: 'setNeighbour', neighbour: { address, mac: MAC.far, linkIndex } }])
      expect(neighboursOf(a, createBridge().index, address)).toEqual([])
    })
  })
}
