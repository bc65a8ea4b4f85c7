import { describe, expect, it } from 'vitest'
import { deriveNames } from '../../src/core/names.ts'
import { createFakeNode, L3 } from '../fakes/node.ts'

const LEASES = '/var/lib/cni/networks/net'
const RECORDS = '/var/lib/cni/bowline/net'

function gc(valid: object): object {
  return { ...L3, 'cni.dev/valid-attachments': valid }
}

describe('GC', () => {
  it('removes an attachment that is not valid any more', () => {
    const node = createFakeNode()
    node.call('ADD')
    expect(node.call('GC', { config: gc([]) })).toMatchObject({ exitCode: 0 })
    expect(node.residue()).toEqual([])
  })

  it('leaves a valid attachment as it is', () => {
    const node = createFakeNode()
    const config = { ...L3, prevResult: node.call('ADD').json }
    node.call('GC', { config: gc([{ containerID: 'c1', ifname: 'eth0' }]) })
    expect(node.call('CHECK', { config })).toMatchObject({ exitCode: 0 })
  })

  it('frees a lease of another program whose container is gone, and keeps one whose container lives', () => {
    const node = createFakeNode()
    node.files.ensureDirectory(LEASES)
    node.files.create(`${LEASES}/10.1.0.50`, 'dead\r\neth0')
    node.files.create(`${LEASES}/10.1.0.51`, 'live')
    node.call('GC', { config: gc([{ containerID: 'live', ifname: 'eth0' }]) })
    expect(node.files.list(LEASES)).not.toContain('10.1.0.50')
    expect(node.files.list(LEASES)).toContain('10.1.0.51')
  })

  it('removes nothing when nobody says what is valid', () => {
    const node = createFakeNode()
    const config = { ...L3, prevResult: node.call('ADD').json }
    expect(node.call('GC').json).toMatchObject({ code: 7 })
    expect(node.call('CHECK', { config })).toMatchObject({ exitCode: 0 })
  })
})

describe('a record that a power failure has cut short', () => {
  const record = `${RECORDS}/${deriveNames({ network: 'net', containerId: 'c1', ifName: 'eth0' }).key}`

  it('does not keep DEL from removing all', () => {
    const node = createFakeNode()
    node.call('ADD')
    node.files.replace(record, '{"version":1,')
    expect(node.call('DEL')).toMatchObject({ exitCode: 0 })
    expect(node.residue()).toEqual([])
  })

  it('does not keep ADD from beginning anew', () => {
    const node = createFakeNode()
    node.call('ADD')
    node.files.replace(record, '')
    expect(node.call('ADD')).toMatchObject({ exitCode: 0 })
    expect(node.call('DEL')).toMatchObject({ exitCode: 0 })
    expect(node.residue()).toEqual([])
  })
})
