import { describe, expect, it } from 'vitest'
import { type FakeNode, L2 } from '../fakes/node.ts'
import {
  BARE,
  CONFIG,
  check,
  INTERFACES,
  masterOf,
  PREVIOUS,
  withForeignPod,
} from '../support/foreign_pod.ts'

describe('behind a plugin that has its addresses from our IPAM', () => {
  const calledAs = 'bowline-ipam'
  const lease = '/var/lib/cni/networks/net/10.1.0.2'

  function withBoth(): { node: FakeNode; added: ReturnType<FakeNode['call']> } {
    const node = withForeignPod()
    const { ips = [] } = node.call('ADD', { calledAs, config: L2 }).json as { ips?: object[] }
    const prevResult = { ...PREVIOUS, ips: ips.map((ip) => ({ ...ip, interface: 1 })) }
    const added = node.call('ADD', { config: { ...BARE, prevResult } })
    expect(added).toMatchObject({ exitCode: 0 })
    return { node, added }
  }

  it('both parts pass CHECK', () => {
    const { node, added } = withBoth()
    expect(check(node, added)).toMatchObject({ exitCode: 0 })
    expect(node.call('CHECK', { calledAs, config: L2 })).toMatchObject({ exitCode: 0 })
  })

  it('DEL leaves the addresses to the other plugin until its own DEL', () => {
    const { node } = withBoth()
    expect(node.call('DEL', { config: BARE })).toMatchObject({ exitCode: 0 })
    expect(node.files.read(lease)).toBe('c1\r\neth0')
    expect(node.call('CHECK', { calledAs, config: L2 })).toMatchObject({ exitCode: 0 })
    // The runtime repeats a DEL as it likes.
    expect(node.call('DEL', { config: BARE })).toMatchObject({ exitCode: 0 })
    expect(node.files.read(lease)).toBe('c1\r\neth0')
    expect(node.call('DEL', { calledAs, config: L2 })).toMatchObject({ exitCode: 0 })
    expect(node.residue()).toEqual(['link foreign0'])
  })

  it('the DELs may come in the other order', () => {
    const { node } = withBoth()
    expect(node.call('DEL', { calledAs, config: L2 })).toMatchObject({ exitCode: 0 })
    expect(masterOf(node, 'foreign0')).toBe('br0')
    expect(node.call('DEL', { config: BARE })).toMatchObject({ exitCode: 0 })
    expect(node.residue()).toEqual(['link foreign0'])
  })

  it('a refused ADD, and the DEL after it, leave the addresses held', () => {
    const node = withForeignPod()
    node.call('ADD', { calledAs, config: L2 })
    const config = { ...CONFIG, prevResult: { ...PREVIOUS, interfaces: INTERFACES.slice(1), ips: [] } }
    expect(node.call('ADD', { config }).exitCode).toBe(1)
    expect(node.call('DEL', { config }).exitCode).toBe(0)
    expect(node.call('CHECK', { calledAs, config: L2 })).toMatchObject({ exitCode: 0 })
  })

  describe.each(['ENOSPC', 'EDQUOT'])('on a disk that has no room: %s', (errno) => {
    /** Whatever takes no more room than there is still succeeds. */
    const fill = (node: FakeNode) => node.refuse(/^(create|replace|ensureDirectory|lock) /, errno)

    it('both DELs succeed and leave nothing', () => {
      const { node } = withBoth()
      fill(node)
      expect(node.call('DEL', { config: BARE })).toMatchObject({ exitCode: 0 })
      expect(masterOf(node, 'foreign0')).toBeUndefined()
      expect(node.files.read(lease)).toBe('c1\r\neth0')
      expect(node.call('DEL', { calledAs, config: L2 })).toMatchObject({ exitCode: 0 })
      expect(node.residue()).toEqual(['link foreign0'])
    })

    it('they do in the other order too: what can not be written down any more goes with the first', () => {
      const { node } = withBoth()
      fill(node)
      expect(node.call('DEL', { calledAs, config: L2 })).toMatchObject({ exitCode: 0 })
      expect(masterOf(node, 'foreign0')).toBeUndefined()
      expect(node.residue()).toEqual(['link foreign0'])
      expect(node.call('DEL', { config: BARE })).toMatchObject({ exitCode: 0 })
      expect(node.residue()).toEqual(['link foreign0'])
    })

    it('an ADD is refused for that alone, and leaves the addresses and their record as they were', () => {
      const node = withForeignPod()
      node.call('ADD', { calledAs, config: L2 })
      const before = node.files.dump()
      fill(node)
      const { json } = node.call('ADD', { config: CONFIG })
      expect(json['msg']).toBe('the test')
      expect(node.files.dump()).toEqual(before)
    })
  })

  it('on a read-only disk the DELs fail: the record would stay', () => {
    const { node } = withBoth()
    node.refuse(/^(create|replace|remove|ensureDirectory|lock) .*\/bowline\//, 'EROFS')
    expect(node.call('DEL', { config: BARE })).toMatchObject({ exitCode: 1 })
    expect(node.call('DEL', { calledAs, config: L2 })).toMatchObject({ exitCode: 1 })
    node.refuse(/^nothing$/, '')
    expect(node.call('DEL', { config: BARE })).toMatchObject({ exitCode: 0 })
    expect(node.call('DEL', { calledAs, config: L2 })).toMatchObject({ exitCode: 0 })
    expect(node.residue()).toEqual(['link foreign0'])
  })
})
