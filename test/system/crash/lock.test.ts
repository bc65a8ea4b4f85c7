import { readdirSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { L3 } from '../../fakes/node.ts'
import { type PluginAnswer, type PluginCall, runPlugin } from '../../support/node/plugin.ts'
import {
  createNetns,
  enterSandbox,
  type Netns,
  NOTHING,
  type Residue,
  residue,
} from '../../support/node/sandbox.ts'

/*
 * flock(1) holds a lock of ours and never lets go. Who needs it waits, some 15 s, and is told to try again later; nobody
 * else waits. All calls wait at the same time, so that the file takes 15 s and not two minutes.
 */

const STATE = '/var/lib/cni'
/** Two networks, so that the one lock is not in the way of the other. */
const [HELD_ATTACHMENT, HELD_POOL] = ['attachment', 'pool'].map((name, i) => ({
  ...L3,
  name,
  ipam: { ...L3.ipam, ranges: [[{ subnet: `10.${i}.0.0/24` }], [{ subnet: `fd00:${i}::/64` }]] },
})) as [typeof L3, typeof L3]
const TRY_LATER = { exitCode: 1, output: { code: 11 } }

let pods: Netns[]
const holders: Bun.Subprocess[] = []
/** What had ended while the waiting calls were still waiting, in words. */
const early: Record<string, PluginAnswer> = {}
const late: Record<string, PluginAnswer> = {}
let left: Residue

beforeAll(async () => {
  enterSandbox()
  pods = ['held', 'free', 'one', 'two'].map(createNetns)
  const [held, free, one, two] = pods as [Netns, Netns, Netns, Netns]
  await add(HELD_ATTACHMENT, held)
  const lock = readdirSync(`${STATE}/bowline/.locks`).find((name) => /^[0-9a-f]{3}$/.test(name))
  await add(HELD_POOL, one)
  await hold(`${STATE}/bowline/.locks/${lock}`)
  await hold(`${STATE}/networks/${HELD_POOL.name}/lock`)

  const waiting = Object.entries({
    'ADD of the held attachment': call('ADD', HELD_ATTACHMENT, held),
    'DEL of the held attachment': call('DEL', HELD_ATTACHMENT, held),
    'ADD to the held pool': call('ADD', HELD_POOL, two),
    'DEL from the held pool': call('DEL', HELD_POOL, one),
    'GC of the held pool': call('GC', gc(HELD_POOL)),
  })
  const first = Promise.race(waiting.map(async ([what, answer]) => [await answer, what][1]))
  early['STATUS of the held attachment'] = await call('STATUS', HELD_ATTACHMENT)
  early['STATUS of the held pool'] = await call('STATUS', HELD_POOL)
  early['GC beside the held attachment'] = await call('GC', gc(HELD_ATTACHMENT))
  early['ADD beside the held attachment'] = await call('ADD', HELD_ATTACHMENT, free)
  early['DEL beside the held attachment'] = await call('DEL', HELD_ATTACHMENT, free)
  expect(await Promise.race([first, 'nobody has given up yet'])).toBe('nobody has given up yet')
  for (const [what, answer] of waiting) late[what] = await answer
  left = await residue()
})

afterAll(() => {
  for (const holder of holders) holder.kill('SIGKILL')
})

describe('a lock that its holder never lets go', () => {
  it.each([
    'ADD of the held attachment',
    'DEL of the held attachment',
    'ADD to the held pool',
    'DEL from the held pool',
    'GC of the held pool',
  ])('lets %s give up: try again later, and who holds it', (what) => {
    expect(late[what]).toMatchObject(TRY_LATER)
    expect(late[what]?.stdout).toMatch(/lock \S+: another process holds it; waited 15\d{3} ms.*fuser -v/)
  })

  it.each([
    'STATUS of the held attachment',
    'STATUS of the held pool',
    'GC beside the held attachment',
    'ADD beside the held attachment',
    'DEL beside the held attachment',
  ])('does not keep %s waiting', (what) => {
    expect(early[what], early[what]?.stdout).toMatchObject({ exitCode: 0 })
  })

  it('leaves the attachment alone, and of the pool’s pod only what the pool has', () => {
    expect(left.leases).toEqual([
      ...['10.0.0.2', 'fd00::2'].map((address) => `networks/attachment/${address}`),
      ...['10.1.0.2', 'fd00:1::2'].map((address) => `networks/pool/${address}`),
    ])
    expect(left.links).toEqual([expect.any(String)])
    // As long as a record names it.
    expect(left.nftElements).toEqual(['10.0.0.0/24', '10.1.0.0/24', 'fd00:1::/64', 'fd00::/64'])
    expect(left.records).toHaveLength(2)
  })

  it('is forgotten once the holder is dead: the same calls succeed, and nothing is left', async () => {
    for (const holder of holders) holder.kill('SIGKILL')
    await Promise.all(holders.map(({ exited }) => exited))
    const [held, , one, two] = pods as [Netns, Netns, Netns, Netns]
    await add(HELD_POOL, two)
    for (const [config, pod] of [
      [HELD_ATTACHMENT, held],
      [HELD_POOL, one],
      [HELD_POOL, two],
    ] as const) {
      expect(await call('DEL', config, pod)).toMatchObject({ exitCode: 0 })
    }
    expect(await residue()).toEqual(NOTHING)
  })
})

/** Returns when flock(1) has the lock. */
async function hold(path: string): Promise<void> {
  const holder = Bun.spawn(['flock', '--no-fork', path, 'sh', '-c', 'echo held; exec sleep infinity'], {
    stdout: 'pipe',
  })
  holders.push(holder)
  const { value } = await holder.stdout.getReader().read()
  expect(new TextDecoder().decode(value)).toBe('held\n')
}

function call(command: PluginCall['command'], config: object, pod?: Netns): Promise<PluginAnswer> {
  return runPlugin({
    command,
    config,
    timeoutMs: 60_000,
    ...(pod && { containerId: pod.name, netns: pod.path }),
  })
}

async function add(config: object, pod: Netns): Promise<void> {
  const { exitCode, stdout } = await call('ADD', config, pod)
  expect(exitCode, stdout).toBe(0)
}

function gc(config: object): object {
  return { ...config, 'cni.dev/valid-attachments': [] }
}
