import { describe, expect, it } from 'vitest'
import { openPool } from '../../ipam/pool.ts'
import { viewPool } from '../../ipam/pool_view.ts'
import { formatAddress, parseAddress } from '../../src/core/address.ts'
import { Code, Fault } from '../../src/core/errors.ts'
import { AddressNode, DATA_DIR, idOf, NETWORK } from '../support/address_pool.ts'
import { faultOf } from '../support/fault_of.ts'

describe('leases in the layout of host-local', () => {
  it('are one file an address with container and interface, and a cursor for each set', () => {
    const node = new AddressNode('10.1.2.0/24', '2001:db8:1::/64')
    node.add('some-container', { ifName: 'eth7' })
    const dump = node.files.dump()
    expect(dump['/data/net/10.1.2.2']).toBe('some-container\r\neth7')
    expect(dump['/data/net/2001:db8:1::2']).toBe('some-container\r\neth7')
    expect(dump['/data/net/last_reserved_ip.0']).toBe('10.1.2.2')
    expect(dump['/data/net/last_reserved_ip.1']).toBe('2001:db8:1::2')
  })

  it('go with DEL, and the cursors stay', () => {
    const node = new AddressNode('10.1.2.0/24', '2001:db8:1::/64')
    node.add('a')
    node.del('a')
    expect(node.leases()).toEqual({})
    expect(node.files.read('/data/net/last_reserved_ip.0')).toBe('10.1.2.2')
  })

  it('of one interface stay when another interface of the same container goes', () => {
    const node = new AddressNode('10.1.2.0/24')
    node.add('a', { ifName: 'eth0' })
    node.add('a', { ifName: 'eth1' })
    node.del('a', 'eth0')
    expect(node.leases()).toEqual({ '10.1.2.3': 'a\r\neth1' })
  })

  it('leave a directory that others may read', () => {
    const node = new AddressNode('10.1.2.0/24')
    node.add('a')
    expect(node.files.modeOf('/data/net')).toBe(0o755)
  })

  it('of an unknown container are no reason for DEL to fail', () => {
    const node = new AddressNode('10.1.2.0/24')
    node.add('a')
    expect(() => node.del('unknown')).not.toThrow()
    expect(node.leases()).toEqual({ '10.1.2.2': 'a\r\neth0' })
  })

  it.each([
    ['with the container alone', 'a'],
    ['with white space around', '\n a\r\neth0 \n'],
  ])('written by host-local %s are freed by a DEL without a record', (_, text) => {
    const node = new AddressNode('10.1.2.0/24')
    node.plant('10.1.2.3', text)
    node.plant('10.1.2.4', 'b\r\neth0')
    node.del('a')
    expect(node.leases()).toEqual({ '10.1.2.4': 'b\r\neth0' })
  })

  it('in the old form are left alone when the container has one in the new form', () => {
    const node = new AddressNode('10.1.2.0/24')
    node.plant('10.1.2.3', 'a')
    node.plant('10.1.2.4', 'a\r\neth0')
    node.del('a')
    expect(node.leases()).toEqual({ '10.1.2.3': 'a' })
  })

  it('that are empty, after a host-local that was killed, are free', () => {
    const node = new AddressNode('10.1.2.0/30')
    node.plant('10.1.2.2', '')
    expect(node.add('a')).toEqual(['10.1.2.2'])
    expect(node.leases()).toEqual({ '10.1.2.2': 'a\r\neth0' })
  })

  it('that turn empty later are free as well', () => {
    const node = new AddressNode('10.1.2.0/30')
    node.add('a')
    node.del('a')
    node.plant('10.1.2.2', '')
    expect(node.add('b')).toEqual(['10.1.2.2'])
  })
})

/** host-local's own table: what is held, what was handed out last, and what comes next. */
const roundRobin: [string, string[], string[], string | undefined, string][] = [
  ['a fresh start', ['10.0.0.0/29'], [], undefined, '10.0.0.2'],
  ['a fresh start with IPv6', ['2001:db8:1::0/64'], [], undefined, '2001:db8:1::2'],
  ['the smallest subnet', ['10.0.0.0/30'], [], undefined, '10.0.0.2'],
  ['the first address held', ['10.0.0.0/29'], ['10.0.0.2'], undefined, '10.0.0.3'],
  ['the one after the last', ['10.0.0.0/29'], [], '10.0.0.5', '10.0.0.6'],
  ['some held after the last', ['10.0.0.0/29'], ['10.0.0.4', '10.0.0.5'], '10.0.0.3', '10.0.0.6'],
  ['round to the beginning', ['10.0.0.0/29'], ['10.0.0.6'], '10.0.0.5', '10.0.0.2'],
  ['a last that is out of range', ['10.0.0.0/29'], ['10.0.0.2'], '10.0.0.128', '10.0.0.3'],
  ['a last that is no address', ['10.0.0.0/29'], ['10.0.0.2'], 'nonsense', '10.0.0.3'],
  [
    'only the last one free',
    ['10.0.0.0/29'],
    ['10.0.0.2', '10.0.0.4', '10.0.0.5', '10.0.0.6'],
    '10.0.0.3',
    '10.0.0.3',
  ],
  ['several subnets', ['10.0.0.0/30', '10.0.1.0/30'], [], undefined, '10.0.0.2'],
  ['on to the next subnet', ['10.0.0.0/30', '10.0.1.0/30'], [], '10.0.0.2', '10.0.1.2'],
  ['back to the first subnet', ['10.0.0.0/30', '10.0.1.0/30', '10.0.2.0/30'], [], '10.0.2.2', '10.0.0.2'],
]

describe('a store taken over from host-local', () => {
  it.each(roundRobin)('goes on with %s', (_, subnets, held, last, expected) => {
    const node = new AddressNode(subnets.map((subnet) => ({ subnet })))
    for (const address of held) node.plant(address, 'id\r\neth0')
    if (last) node.plant('last_reserved_ip.0', last)
    expect(node.add('new')).toEqual([expected])
  })

  it('frees the address of a pod of host-local at its DEL', () => {
    const node = new AddressNode('10.0.0.0/29')
    node.plant('10.0.0.2', 'old\r\neth0')
    node.add('a')
    node.del('old')
    expect(node.leases()).toEqual({ '10.0.0.3': 'a\r\neth0' })
    expect(['b', 'c', 'd', 'e'].flatMap((id) => node.add(id))).toContain('10.0.0.2')
  })
})

describe('a requested address', () => {
  it('is given with the prefix and gateway of its range', () => {
    const node = new AddressNode('10.0.0.0/24')
    const [lease] = node.withPool((pool) => pool.choose(node.sets, [parseAddress('10.0.0.77')]))
    expect(lease?.address).toEqual({ address: parseAddress('10.0.0.77'), prefix: 24 })
    expect(lease?.gateway && formatAddress(lease.gateway)).toBe('10.0.0.1')
  })

  it('goes to the set that it belongs to, and the other set gives its next', () => {
    const node = new AddressNode('10.0.0.0/24', 'fd00::/64')
    expect(node.add('a', { ips: ['fd00::99'] })).toEqual(['10.0.0.2', 'fd00::99'])
    expect(node.add('b', { ips: ['fd00::98', '10.0.0.98'] })).toEqual(['10.0.0.98', 'fd00::98'])
  })

  it('that a live pod holds is refused, and the pod keeps it', () => {
    const node = new AddressNode('10.0.0.0/24')
    node.add('live', { ips: ['10.0.0.9'] })
    const fault = faultOf(() => node.add('thief', { ips: ['10.0.0.9'] }))
    expect(fault.code).toBe(Code.addressInUse)
    expect(fault.message).toContain('10.0.0.9 is held by container live')
    expect(node.leases()).toEqual({ '10.0.0.9': 'live\r\neth0' })
  })

  it.each([
    ['two of one set', ['10.0.0.8', '10.0.0.9']],
    ['one behind the range', ['10.0.0.201']],
    ['one before the range', ['10.0.0.4']],
    ['one of another family', ['fd00::9']],
    ['the network address', ['10.0.0.0']],
    ['the broadcast address', ['10.0.0.255']],
  ])('is refused if it is %s', (_, ips) => {
    const node = new AddressNode([{ subnet: '10.0.0.0/24', rangeStart: '10.0.0.5', rangeEnd: '10.0.0.200' }])
    const fault = faultOf(() => node.add('a', { ips }))
    expect(fault.code).toBe(Code.invalidConfig)
    expect(fault.message).toContain(`${ips.at(-1)} can't be given from 10.0.0.5-10.0.0.200`)
    expect(node.leases()).toEqual({})
  })

  it('is refused if it is the gateway', () => {
    const node = new AddressNode('10.0.0.0/24')
    expect(() => node.add('a', { ips: ['10.0.0.1'] })).toThrow('10.0.0.1 is the gateway')
  })

  it('may be asked for twice in one breath', () => {
    const node = new AddressNode('10.0.0.0/24')
    expect(node.add('a', { ips: ['10.0.0.9', '10.0.0.9'] })).toEqual(['10.0.0.9'])
  })

  it('whose file is empty is given', () => {
    const node = new AddressNode('10.0.0.0/24')
    node.add('a')
    node.plant('10.0.0.9', '')
    expect(node.add('b', { ips: ['10.0.0.9'] })).toEqual(['10.0.0.9'])
  })

  it('of a pod that is dead is taken from it, with its record', () => {
    const node = new AddressNode('10.0.0.0/24')
    node.add('dead', { ips: ['10.0.0.9'] })
    const cleared: string[] = []
    node.isDead = ({ containerId }) => containerId === 'dead'
    node.clear = ({ containerId }) => void cleared.push(containerId)
    expect(node.add('b', { ips: ['10.0.0.9'] })).toEqual(['10.0.0.9'])
    expect(cleared).toEqual(['dead'])
    expect(node.records.list(NETWORK).map(({ containerId }) => containerId)).toEqual(['b'])
  })
})

describe('a full pool', () => {
  function full(): AddressNode {
    const node = new AddressNode('10.0.0.0/29')
    node.plant('10.0.0.2', 'other\r\neth0')
    for (const id of ['a', 'b', 'c', 'd']) node.add(id)
    return node
  }

  it('says which network and range it is, and who holds how many', () => {
    const fault = faultOf(() => full().add('e'))
    expect(fault.code).toBe(Code.poolExhausted)
    expect(fault.message).toBe(
      'network net: no free address in 10.0.0.1-10.0.0.6 (range set 0): ' +
        '5 held, 4 by attachments whose pods are not known to be gone, 1 by leases without a record',
    )
    expect(fault.hint).toContain('larger subnet')
  })

  it('leaves nothing of the ADD that failed', () => {
    const node = full()
    const [leases, records] = [node.leases(), node.records.list(NETWORK)]
    faultOf(() => node.add('e'))
    expect(node.leases()).toEqual(leases)
    expect(node.records.list(NETWORK)).toEqual(records)
  })

  it('of one set leaves no lease in the other set', () => {
    const node = new AddressNode('fd00::/64', '10.0.0.0/30')
    node.add('a')
    faultOf(() => node.add('b'))
    expect(Object.values(node.leases())).toEqual(['a\r\neth0', 'a\r\neth0'])
  })

  it('finds an address that was freed behind its back', () => {
    const node = full()
    node.files.remove('/data/net/10.0.0.2')
    expect(node.add('e')).toEqual(['10.0.0.2'])
  })

  it('takes the addresses of dead attachments, and never those of live ones', () => {
    const node = full()
    node.isDead = ({ containerId }) => containerId === 'b'
    expect(node.add('e')).toEqual(['10.0.0.4'])
    expect(faultOf(() => node.add('f')).code).toBe(Code.poolExhausted)
  })

  it('leaves a dead attachment alone while another process works on it', () => {
    const node = full()
    node.isDead = ({ containerId }) => containerId === 'b'
    node.locks.withAttachment(idOf('b'), () => {
      expect(faultOf(() => node.add('e')).code).toBe(Code.poolExhausted)
    })
    expect(node.add('e')).toEqual(['10.0.0.4'])
  })

  it('is counted without the lock', () => {
    const node = full()
    const lock = node.files.lock('/data/net/lock', 0)
    expect(node.stats()).toMatchObject([{ total: 5n, held: 5, holdings: { attachments: 4, unrecorded: 1 } }])
    lock.release()
  })

  it('is not counted as full because of dead attachments', () => {
    const node = full()
    node.isDead = ({ containerId }) => containerId === 'b'
    expect(node.stats()[0]?.held).toBe(4)
  })
})

describe('a DEL', () => {
  it('that can’t remove a lease says so, has removed the other, and ends the work next time', () => {
    const node = new AddressNode('10.0.0.0/29', 'fd00::/125')
    node.add('a')
    node.files.onOperation = ({ name, path, phase }) => {
      if (name === 'remove' && path.endsWith('/10.0.0.2') && phase === 'before')
        throw new Fault('EIO', { errno: 'EIO' })
    }
    expect(() => node.del('a')).toThrow('EIO')
    expect(node.leases()).toEqual({ '10.0.0.2': 'a\r\neth0' })
    node.files.onOperation = undefined
    node.del('a')
    expect(node.leases()).toEqual({})
  })

  it('does not fail because the order can’t be written', () => {
    const node = new AddressNode('10.0.0.0/29')
    node.add('a')
    node.files.onOperation = ({ path, phase }) => {
      if (path.includes('/.bowline/') && phase === 'before') throw new Fault('EROFS', { errno: 'EROFS' })
    }
    node.del('a')
    expect(node.leases()).toEqual({})
    expect(node.records.list(NETWORK)).toEqual([])
  })
})

describe('the count of a pool', () => {
  it('leaves out gateways, and sets of IPv6 can be of any size', () => {
    const node = new AddressNode('10.0.0.0/24', 'fd00::/64', [
      { subnet: '10.9.0.0/24', gateway: '10.1.0.1' },
      { subnet: '10.9.1.0/24', gateway: '10.9.0.7' },
    ])
    node.add('a')
    expect(node.stats().map(({ total, held }) => [total, held])).toEqual([
      [253n, 1],
      [2n ** 64n - 2n, 1],
      [507n, 1],
    ])
  })

  it('is possible before anything was ever made', () => {
    expect(new AddressNode('10.0.0.0/24').stats()).toMatchObject([{ total: 253n, held: 0 }])
  })
})

describe('a pool', () => {
  it('says try again later when another process holds its lock', () => {
    const node = new AddressNode('10.0.0.0/24')
    const options = { ...node.place(), lockTimeoutMs: 700 }
    openPool(node.files, options)
    expect(faultOf(() => openPool(node.files, options)).code).toBe(Code.tryLater)
    expect(node.files.waitedMs).toBe(700)
  })

  it('makes nothing to release, and finds nothing where no network was', () => {
    const node = new AddressNode('10.0.0.0/24')
    const pool = openPool(node.files, { ...node.place(), lockTimeoutMs: 0, purpose: 'release' })
    expect(pool.releaseAll({ containerId: 'c', ifName: 'eth0' })).toEqual([])
    pool.close()
    expect(node.files.dump()).toEqual({ '/': '' })
  })

  it('is held by nobody where the disk lets nobody make its lock, but not to lease', () => {
    const node = new AddressNode('10.0.0.0/24')
    node.files.onOperation = ({ name }) => {
      if (name === 'lock') throw new Fault('lock: ENOSPC', { errno: 'ENOSPC' })
    }
    openPool(node.files, { ...node.place(), lockTimeoutMs: 0, purpose: 'release' }).close()
    expect(faultOf(() => openPool(node.files, { ...node.place(), lockTimeoutMs: 0 })).errno).toBe('ENOSPC')
  })

  it.each([
    ['data', NETWORK],
    ['/data/../etc', NETWORK],
    ['/data', '../etc'],
    ['/data', '.bowline'],
    ['/data', ''],
  ])('in %j for network %j is refused before anything is touched', (dataDir, network) => {
    const node = new AddressNode('10.0.0.0/24')
    const options = { ...node.place(network), dataDir, lockTimeoutMs: 0 }
    expect(faultOf(() => openPool(node.files, options)).code).toBe(Code.invalidConfig)
    expect(node.files.operations).toBe(0)
  })

  it('says who holds what, in both forms, without the lock', () => {
    const node = new AddressNode('10.0.0.0/24')
    node.add('a')
    node.plant('10.0.0.7', 'old')
    node.plant('10.0.0.8', '')
    const lock = node.files.lock('/data/net/lock', 0)
    const view = viewPool(node.files, { dataDir: DATA_DIR, network: NETWORK })
    lock.release()
    expect(view.owners()).toEqual([
      { address: parseAddress('10.0.0.2'), containerId: 'a', ifName: 'eth0' },
      { address: parseAddress('10.0.0.7'), containerId: 'old' },
    ])
    expect(view.held(idOf('a'), [parseAddress('10.0.0.2')])).toBe(true)
    expect(view.held(idOf('a', 'eth1'), [parseAddress('10.0.0.2')])).toBe(false)
    expect(view.held(idOf('a'), [parseAddress('10.0.0.2'), parseAddress('10.0.0.3')])).toBe(false)
    expect(view.held(idOf('old'), [parseAddress('10.0.0.7')])).toBe(true)
  })

  it('releases only what is the owner’s', () => {
    const node = new AddressNode('10.0.0.0/24')
    node.add('a')
    node.add('b')
    node.withPool((pool) => pool.release(idOf('a'), [parseAddress('10.0.0.2'), parseAddress('10.0.0.3')]))
    expect(node.leases()).toEqual({ '10.0.0.3': 'b\r\neth0' })
  })

  it('takes nothing at all when a program that ignores the lock was faster', () => {
    const node = new AddressNode('10.0.0.0/24', 'fd00::/64')
    const fault = faultOf(() =>
      node.withPool((pool) => {
        const leases = pool.choose(node.sets, [])
        node.plant('fd00::2', 'other\r\neth0')
        pool.take(idOf('a'), leases)
      }),
    )
    expect(fault.code).toBe(Code.tryLater)
    expect(node.leases()).toEqual({ 'fd00::2': 'other\r\neth0' })
  })

  it('keeps networks and data directories apart', () => {
    const node = new AddressNode('10.0.0.0/24')
    node.add('a')
    const options = { ...node.place('other'), lockTimeoutMs: 0 }
    const [lease] = openPool(node.files, options).choose(node.sets, [])
    expect(lease && formatAddress(lease.address.address)).toBe('10.0.0.2')
  })
})
