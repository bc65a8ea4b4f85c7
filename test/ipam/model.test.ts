import * as fc from 'fast-check'
import { expect, it } from 'vitest'
import { Fault } from '../../src/core/errors.ts'
import { Killed } from '../fakes/files.ts'
import { AddressNode, isKill, NETWORK } from '../support/address_pool.ts'

const PODS = ['p0', 'p1', 'p2', 'p3', 'p4', 'p5', 'p6', 'p7']
const ADDRESSES = ['10.0.0.2', '10.0.0.3', '10.0.0.4', '10.0.0.5', '10.0.0.6']

type Calm =
  | { readonly do: 'add'; readonly pod: string; readonly ip?: string | undefined }
  | { readonly do: 'del'; readonly pod: string }
type Kill = {
  readonly do: 'killedAdd' | 'killedDel'
  readonly pod: string
  readonly at: number
  readonly after: boolean
}
type Step = Calm | Kill | { readonly do: 'reboot' } | { readonly do: 'loseOrder' }

const pod = fc.constantFrom(...PODS)
const calm: fc.Arbitrary<Calm> = fc.oneof(
  fc.record({ do: fc.constant('add' as const), pod }),
  fc.record({ do: fc.constant('add' as const), pod, ip: fc.constantFrom(...ADDRESSES) }),
  fc.record({ do: fc.constant('del' as const), pod }),
)
const rough: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: calm },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constantFrom('killedAdd' as const, 'killedDel' as const),
      pod,
      at: fc.integer({ min: 1, max: 25 }),
      after: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.constantFrom<Step>({ do: 'reboot' }, { do: 'loseOrder' }) },
)

it('hands out addresses that were never used, then the one that was released first, whoever comes and goes', () => {
  fc.assert(
    fc.property(fc.array(calm, { maxLength: 60 }), (steps) => {
      const node = new AddressNode('10.0.0.0/29')
      const unused = new Set(ADDRESSES)
      const released: string[] = []
      const live = new Map<string, string>()
      for (const step of steps) {
        if (step.do === 'del') {
          node.del(step.pod)
          const address = live.get(step.pod)
          if (address) released.push(address)
          live.delete(step.pod)
        } else if (step.do === 'add' && !live.has(step.pod)) {
          const possible = unused.size > 0 ? [...unused] : released.slice(0, 1)
          const free = [...unused, ...released]
          const address = tryAdd(node, step.pod, step.ip)
          if (step.ip !== undefined) expect(address).toBe(free.find((one) => one === step.ip))
          else if (possible.length > 0) expect(possible).toContain(address)
          else expect(address).toBeUndefined()
          if (address === undefined) continue
          unused.delete(address)
          if (released.includes(address)) released.splice(released.indexOf(address), 1)
          live.set(step.pod, address)
        }
      }
    }),
    { numRuns: 150 },
  )
})

it('never gives an address to two live pods and loses none, whatever is killed, rebooted or lost', () => {
  fc.assert(
    fc.property(fc.array(rough, { maxLength: 40 }), (steps) => {
      const node = new AddressNode('10.0.0.0/29')
      const live = new Map<string, string>()
      let boots = 1
      for (const step of steps) {
        if (step.do === 'reboot') {
          node.reboot(`boot-${++boots}`)
          live.clear()
        } else if (step.do === 'loseOrder') node.files.remove('/data/.bowline/net/order')
        else perform(node, step, live)
        expectSound(node, live)
      }
      for (const one of PODS) node.del(one)
      expect(node.leases()).toEqual({})
      expect(node.records.list(NETWORK)).toEqual([])
      expect(
        PODS.slice(0, 5)
          .map((one) => tryAdd(node, one))
          .sort(),
      ).toEqual(ADDRESSES)
    }),
    { numRuns: 250 },
  )
})

function perform(node: AddressNode, step: Calm | Kill, live: Map<string, string>): void {
  if (step.do === 'del') {
    node.del(step.pod)
    live.delete(step.pod)
  } else if (step.do === 'add') {
    if (live.has(step.pod)) return
    const address = tryAdd(node, step.pod, step.ip)
    if (address) live.set(step.pod, address)
  } else if (step.do === 'killedDel') {
    killed(node, step, () => node.del(step.pod))
    live.delete(step.pod)
  } else if (!live.has(step.pod)) {
    let address: string | undefined
    const died = killed(node, step, () => {
      address = tryAdd(node, step.pod)
    })
    if (!died && address) live.set(step.pod, address)
  }
}

/** Every live pod has its address, and by the lease file no other has it. */
function expectSound(node: AddressNode, live: ReadonlyMap<string, string>): void {
  const leases = node.leases()
  for (const [owner, address] of live) expect(leases[address]).toBe(`${owner}\r\neth0`)
  expect(new Set(live.values()).size).toBe(live.size)
}

/** The address, or undefined when none could be given. */
function tryAdd(node: AddressNode, owner: string, ip?: string): string | undefined {
  try {
    return node.add(owner, ip === undefined ? {} : { ips: [ip] })[0]
  } catch (error) {
    if (error instanceof Fault) return undefined
    throw error
  }
}

/** Runs `work` in a process that dies at the step's operation, if it gets that far. True if it died. */
function killed(node: AddressNode, { at, after }: { at: number; after: boolean }, work: () => void): boolean {
  const start = node.files.operations
  node.files.onOperation = ({ sequence, phase }) => {
    if (sequence - start === at && phase === (after ? 'after' : 'before')) throw new Killed()
  }
  try {
    work()
    return false
  } catch (error) {
    if (isKill(error)) return true
    throw error
  } finally {
    node.files.onOperation = undefined
    node.files.revive()
  }
}
