import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { L3 } from '../../fakes/node.ts'
import type { PluginAnswer, PluginCall } from '../../support/node/plugin.ts'
import { callFor, expectSuccess, usePods } from '../../support/node/pods.ts'
import { run } from '../../support/node/private_namespaces.ts'
import { NOTHING, type Residue, residue } from '../../support/node/sandbox.ts'

/*
 * Small real file systems that are really full, or read-only. An ADD says so and leaves nothing. A DEL releases all that it
 * can; what it can't it says, and the next one finds it when the disk is well again.
 */

const PLACES = ['/var/lib/cni', '/var/lib/cni/networks', '/var/lib/cni/bowline']

const FAULTS = [
  {
    fault: 'full',
    errno: 'ENOSPC',
    inflict: (at: string) => `dd if=/dev/zero of=${at}/filler bs=4k 2>/dev/null || true`,
  },
  {
    fault: 'out of inodes',
    errno: 'ENOSPC',
    inflict: (at: string) => `i=0; while touch ${at}/filler$i 2>/dev/null; do i=$((i+1)); done`,
  },
  { fault: 'read-only', errno: 'EROFS', inflict: (at: string) => `mount -o remount,ro ${at}` },
]

const CASES = PLACES.flatMap((place) => FAULTS.map((fault) => ({ place, ...fault })))

const [old, young] = usePods('old', 'young')

describe.each(CASES)('$place is $fault', ({ place, errno, inflict }) => {
  beforeEach(() => {
    run(`mkdir -p ${place}; mount -t tmpfs -o size=64k,nr_inodes=64 tmpfs ${place}`)
  })

  afterEach(() => void run(`umount ${place}`))

  describe('since the first pod was made', () => {
    let before: Residue

    beforeEach(async () => {
      expectSuccess(await call('ADD', old))
      before = await left()
      run(inflict(place))
    })

    it('lets ADD fail, say why, and leave nothing', () => expectRefusedAdd(before, place, errno))

    it('is told by STATUS', async () => {
      const answer = await call('STATUS')
      expect(answer).toMatchObject({ exitCode: 1, output: { code: 50 } })
      expect(answer.stdout).toContain(errno)
    })

    it('does not keep DEL from releasing all that it can', async () => {
      const answer = await call('DEL', old)
      const { links, nftElements, leases, records } = await left()
      expect(links).toEqual([])
      // Masquerading is the network's: where records can't be changed, it stays until they can.
      expect(nftElements).toEqual(errno === 'EROFS' ? before.nftElements : [])
      // To remove takes no space. Only what is on the read-only disk stays, and the record as long as anything does.
      const stays = (directory: string) => errno === 'EROFS' && directory.startsWith(place)
      expect(leases.length > 0).toBe(stays('/var/lib/cni/networks'))
      expect(records.length > 0).toBe(errno === 'EROFS')
      if (errno === 'EROFS')
        expect(answer).toMatchObject({ exitCode: 1, stdout: expect.stringContaining(errno) })
      else expectSuccess(answer)
    })

    it('lets DEL and ADD succeed when it is well again', async () => {
      await call('DEL', old)
      run(`mount -o remount,rw ${place}; rm -f ${place}/filler*`)
      expectSuccess(await call('DEL', old))
      expect(await residue()).toEqual(NOTHING)
      const added = await call('ADD', young)
      expectSuccess(added)
      expectSuccess(await call('CHECK', young, { prevResult: added.output }))
      expectSuccess(await call('DEL', young))
      expect(await residue()).toEqual(NOTHING)
    })
  })

  it('from the beginning: ADD fails, says why, and leaves nothing', async () => {
    run(inflict(place))
    await expectRefusedAdd(NOTHING, place, errno)
  })
})

async function expectRefusedAdd(before: Residue, place: string, errno: string): Promise<void> {
  const answer = await call('ADD', young)
  expect(answer).toMatchObject({ exitCode: 1, output: { code: 5 } })
  expect(answer.stdout).toContain(errno)
  expect(answer.stdout).toContain(place)
  expect(answer.stdout).toMatch(/Free some space|Mount the file system/)
  expect(await left()).toEqual(before)
  // As a runtime does at once. There is nothing to remove, so nothing can be in the way.
  expectSuccess(await call('DEL', young))
  expect(await left()).toEqual(before)
}

/** Without what fills the disk. */
async function left(): Promise<Residue> {
  const all = await residue()
  return { ...all, records: all.records.filter((path) => !path.includes('/filler')) }
}

function call(command: PluginCall['command'], pod = old, more: object = {}): Promise<PluginAnswer> {
  return callFor(pod, command, { ...L3, ...more })
}
