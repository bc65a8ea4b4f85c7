import { describe, expect, it } from 'vitest'
import { Fault } from '../../src/core/errors.ts'
import { type FileOperation, Killed } from '../fakes/files.ts'
import { AddressNode, isKill, NETWORK } from '../support/address_pool.ts'

const MAX_STEPS = 200
const DUAL = ['10.0.0.0/29', 'fd00::/125'] as const

/** The states of a node in which a process may die. */
const situations: [string, () => AddressNode][] = [
  ['an empty node', () => new AddressNode(...DUAL)],
  ['a node with pods', () => withPods(new AddressNode(...DUAL))],
  ['a node after a reboot', () => rebooted(withPods(new AddressNode(...DUAL)))],
  ['a node with pods of host-local', () => withHostLocal(new AddressNode(...DUAL))],
  ['a node with one address left', () => nearlyFull(new AddressNode(...DUAL))],
  ['a node whose order is lost', () => withoutOrder(withPods(new AddressNode(...DUAL)))],
]

describe.each(situations)('on %s', (_, make) => {
  it('a DEL frees all that an ADD held that was killed at any step', () => {
    atEveryStep(
      make,
      (node) => node.add('victim'),
      (node) => {
        node.del('victim')
        expectNothingOf(node, 'victim')
      },
    )
  })

  it('an ADD succeeds after one of the same pod that was killed at any step', () => {
    atEveryStep(
      make,
      (node) => node.add('victim'),
      (node) => {
        const addresses = node.add('victim')
        expect(heldBy(node, 'victim').sort()).toEqual(addresses.sort())
      },
    )
  })

  it('an ADD of another pod succeeds, once the killed one is deleted, and takes no address of a live pod', () => {
    atEveryStep(
      make,
      (node) => node.add('victim'),
      (node) => {
        const live = node.records
          .list(NETWORK)
          .filter(({ bootId, containerId }) => bootId === node.bootId && containerId !== 'victim')
        node.del('victim')
        node.add('next')
        for (const { containerId, leases } of live)
          expect(heldBy(node, containerId)).toEqual(leases?.addresses)
      },
    )
  })

  it('a DEL frees all after one that was killed at any step', () => {
    const withVictim = () => {
      const node = make()
      node.add('victim')
      return node
    }
    atEveryStep(
      withVictim,
      (node) => node.del('victim'),
      (node) => {
        node.del('victim')
        expectNothingOf(node, 'victim')
      },
    )
  })

  it('no address is lost for good by a kill at any step', () => {
    atEveryStep(
      make,
      (node) => {
        node.add('victim')
        node.del('victim')
      },
      (node) => {
        node.del('victim')
        const before = Object.keys(node.leases()).filter(
          (name) => name.includes('.') && isLive(node, name),
        ).length
        for (let i = before; i < 5; i++) node.add(`filler${i}`)
        expect(Object.keys(node.leases()).filter((name) => name.includes('.'))).toHaveLength(5)
      },
    )
  })

  it.each(['ENOSPC', 'EROFS', 'EIO'])(
    'an ADD that meets %s at any step fails clean, or succeeds',
    (errno) => {
      refuseAtEveryStep(make, errno, 'once')
    },
  )

  it('an ADD on a disk that is full from any step on fails clean, or succeeds', () => {
    refuseAtEveryStep(make, 'ENOSPC', 'from then on')
  })
})

describe('a DEL', () => {
  it('that can’t remove a lease says so, has removed the other, and ends the work next time', () => {
    const node = withPods(new AddressNode(...DUAL))
    node.files.onOperation = ({ name, path, phase }) => {
      if (name === 'remove' && path.endsWith('/10.0.0.2') && phase === 'before') throw refusalOf('EIO', path)
    }
    expect(() => node.del('a')).toThrow('EIO')
    expect(heldBy(node, 'a')).toEqual(['10.0.0.2'])
    node.files.onOperation = undefined
    node.del('a')
    expectNothingOf(node, 'a')
  })

  it('does not fail because the order can’t be written', () => {
    const node = withPods(new AddressNode(...DUAL))
    node.files.onOperation = ({ path, phase }) => {
      if (path.includes('/.bowline/') && phase === 'before') throw refusalOf('EROFS', path)
    }
    node.del('a')
    expectNothingOf(node, 'a')
  })
})

/** Kills the process before and after each file operation of `work`, and looks at what the next process finds. */
function atEveryStep(
  make: () => AddressNode,
  work: (node: AddressNode) => unknown,
  verify: (node: AddressNode) => void,
): void {
  let kills = 0
  for (let step = 1; step <= MAX_STEPS; step++) {
    for (const phase of ['before', 'after'] as const) {
      const node = make()
      const start = node.files.operations
      node.files.onOperation = (operation) => {
        if (operation.sequence - start === step && operation.phase === phase) throw new Killed()
      }
      const survived = survives(() => work(node))
      node.files.onOperation = undefined
      node.files.revive()
      verify(node)
      if (!survived) kills++
      else if (phase === 'before') {
        expect(kills).toBeGreaterThan(10)
        return
      }
    }
  }
  throw new Error(`the work has more than ${MAX_STEPS} steps`)
}

function survives(work: () => unknown): boolean {
  try {
    work()
    return true
  } catch (error) {
    if (isKill(error)) return false
    throw error
  }
}

function refuseAtEveryStep(make: () => AddressNode, errno: string, how: 'once' | 'from then on'): void {
  for (let step = 1; ; step++) {
    expect(step).toBeLessThan(MAX_STEPS)
    const node = make()
    const [start, live] = [node.files.operations, liveLeases(node)]
    let refused = false
    node.files.onOperation = (operation) => {
      const now = operation.sequence - start
      if (!isRefused(operation, errno) || (how === 'once' ? now !== step : now < step)) return
      refused = true
      throw refusalOf(errno, operation.path)
    }
    const failed = fails(() => node.add('victim'))
    node.files.onOperation = undefined
    if (failed) {
      expectNothingOf(node, 'victim')
      expect(liveLeases(node)).toEqual(live)
    } else expect(heldBy(node, 'victim')).toHaveLength(2)
    if (!refused && node.files.operations - start < step) return
  }
}

/** A full or read-only disk refuses changes, and a full one no removal. */
function isRefused({ name, phase }: FileOperation, errno: string): boolean {
  if (phase === 'after') return false
  // That a rollback meets a broken disk is another matter: then the record stays for the next DEL.
  if (name === 'remove' || name === 'removeDirectory') return false
  return errno === 'EIO' || ['create', 'replace', 'writeAt', 'ensureDirectory'].includes(name)
}

function fails(work: () => unknown): boolean {
  try {
    work()
    return false
  } catch (error) {
    expect(error).toBeInstanceOf(Fault)
    return true
  }
}

function refusalOf(errno: string, path: string): Fault {
  return new Fault(`${path}: ${errno}`, { errno })
}

function withPods(node: AddressNode): AddressNode {
  node.add('a')
  node.add('b')
  node.add('gone')
  node.del('gone')
  return node
}

function rebooted(node: AddressNode): AddressNode {
  node.reboot('boot-2')
  return node
}

function withHostLocal(node: AddressNode): AddressNode {
  node.plant('10.0.0.2', 'foreign\r\neth0')
  node.plant('10.0.0.4', '')
  node.plant('last_reserved_ip.0', '10.0.0.3')
  return node
}

function nearlyFull(node: AddressNode): AddressNode {
  for (const id of ['a', 'b', 'c', 'd', 'gone']) node.add(id)
  node.del('gone')
  return node
}

function withoutOrder(node: AddressNode): AddressNode {
  node.files.remove('/data/.bowline/net/order')
  return node
}

function heldBy(node: AddressNode, containerId: string): string[] {
  return Object.entries(node.leases()).flatMap(([name, text]) =>
    text === `${containerId}\r\neth0` ? [name] : [],
  )
}

function expectNothingOf(node: AddressNode, containerId: string): void {
  expect(heldBy(node, containerId)).toEqual([])
  const files = Object.values(node.files.dump()).filter((text) => text.includes(`"${containerId}"`))
  expect(files).toEqual([])
}

/** The leases that nobody may take: those of pods of this boot, and of pods that we know nothing of. */
function liveLeases(node: AddressNode): Record<string, string> {
  return Object.fromEntries(Object.entries(node.leases()).filter(([name]) => isLive(node, name)))
}

function isLive(node: AddressNode, name: string): boolean {
  const text = node.leases()[name] ?? ''
  const former = node.records.list(NETWORK).filter(({ bootId }) => bootId !== node.bootId)
  return text !== '' && !former.some(({ containerId }) => text === `${containerId}\r\neth0`)
}
