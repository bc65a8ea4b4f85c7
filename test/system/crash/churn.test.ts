import { existsSync, statSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { beforeAll, describe, expect, it } from 'vitest'
import { L2, L3 } from '../../fakes/node.ts'
import { onEach } from '../../support/node/node.ts'
import {
  answerOf,
  inputOf,
  type PluginAnswer,
  type PluginCall,
  runPlugin,
  spawnPlugin,
} from '../../support/node/plugin.ts'
import { run } from '../../support/node/private_namespaces.ts'
import {
  createNetns,
  enterSandbox,
  filesBelow,
  NOTHING,
  removeNetns,
  residue,
} from '../../support/node/sandbox.ts'
import { chooseSeed, randomNumbers } from '../../support/seed.ts'

/*
 * A long day of a node in a minute: thousands of attachments come and go on two networks at a time, calls are killed,
 * repeated and lost, namespaces vanish. At the end the node is as it was, and nothing has grown.
 */

const ATTACHMENTS = Number(process.env['BOWLINE_CHURN'] ?? 2500)
/** Runtimes at work at the same time, each on one pod. */
const RUNTIMES = 6
const GC_EVERY = 100
const STATE = '/var/lib/cni'
/** Bytes of an address, and of the 64 that were released last. */
const BOUNDS: readonly (readonly [RegExp, number])[] = [
  [/\/last_reserved_ip\.\d+$/, 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'.length],
  [/\/order$/, 4096],
]

const seed = chooseSeed()
const random = randomNumbers(seed)
const chance = (percent: number): boolean => random(1, 100) <= percent

const counts: Record<string, number> = {}
function count(what: string): void {
  counts[what] = (counts[what] ?? 0) + 1
}

/** Small pools, so that addresses come round many times. */
const NETWORKS = [L3, { ...L2, name: 'bridged' }].map((config, i) => ({
  ...config,
  ipam: { ...config.ipam, ranges: [[{ subnet: `10.${i}.0.0/27` }], [{ subnet: `fd00:${i}::/64` }]] },
}))
/** The number of the pod that each runtime is at. */
const turns = Array.from({ length: RUNTIMES }, () => 0)
/** Pods that a runtime may begin while a GC with an older list is still at work. */
const AHEAD = 100

beforeAll(() => {
  enterSandbox()
  for (let i = 0; i < RUNTIMES; i++) createNetns(`pod${i}`)
})

describe(`${ATTACHMENTS} attachments (seed ${seed})`, () => {
  it('leave nothing, and nothing grows', { timeout: 60_000 + 200 * ATTACHMENTS }, async () => {
    const kernel = kernelObjects()
    // Two rounds make the files that stay by design: locks, and the order of the addresses.
    await churn(2 * RUNTIMES)
    const files = storeFiles()
    await churn(ATTACHMENTS)
    console.log(`${ATTACHMENTS} attachments, seed ${seed}: ${JSON.stringify(counts)}`)
    expect(storeFiles()).toEqual(files)
    run('ip link delete br0')
    expect(kernelObjects()).toEqual(kernel)
    for (const what of ['ADD killed', 'DEL killed', 'ADD again', 'DEL lost'])
      expect(counts[what], what).toBeGreaterThan(0)
  })
})

async function churn(attachments: number): Promise<void> {
  const numbers = Array.from({ length: attachments }, (_, i) => i)
  await onEach(
    Array.from({ length: RUNTIMES }, (_, i) => i),
    numbers,
    async (runtime, i) => {
      await liveAndDie(runtime)
      if (i % GC_EVERY === GC_EVERY - 1) await collectGarbage()
      if (i % 500 === 499) console.log(`${i + 1} of ${attachments} attachments`)
    },
  )
  await collectGarbage()
  expect(await residue(), `seed ${seed}`).toEqual({ ...NOTHING, links: ['br0'] })
}

/** One pod: from its first ADD until nobody speaks of it any more. */
async function liveAndDie(runtime: number): Promise<void> {
  const containerId = nameOf(runtime, turns[runtime])
  const config = NETWORKS[random(0, 1)] as (typeof NETWORKS)[0]
  const ids = { containerId, netns: `/run/netns/pod${runtime}` }
  let answer = await maybeKilled({ command: 'ADD', config, ...ids })
  if (answer.signal && chance(50)) {
    count('ADD again')
    answer = await runPlugin({ command: 'ADD', config, ...ids })
    // It was killed when all was done but its last word: then the pod is whole, and a runtime would send DEL.
    if (answer.output.code !== INTERFACE_EXISTS) expectSuccess(answer, 'ADD again', containerId)
  } else if (!answer.signal) expectSuccess(answer, 'ADD', containerId)
  if (answer.exitCode === 0 && chance(10)) {
    expectSuccess(
      await runPlugin({ command: 'CHECK', config: { ...config, prevResult: answer.output }, ...ids }),
      'CHECK',
      containerId,
    )
  }
  await die(runtime, config, ids)
  turns[runtime] = (turns[runtime] ?? 0) + 1
}

function nameOf(runtime: number, turn = 0): string {
  return `runtime${runtime}-pod${turn}`
}

async function die(
  runtime: number,
  config: object,
  ids: { containerId: string; netns: string },
): Promise<void> {
  const { containerId } = ids
  if (chance(10)) {
    // The pod's namespace goes, and with it the next pod gets a new one.
    removeNetns(`pod${runtime}`)
    count('namespace gone')
    if (chance(50)) {
      count('DEL lost')
      createNetns(`pod${runtime}`)
      return
    }
  }
  const first = await maybeKilled({ command: 'DEL', config, ...ids })
  if (!first.signal) expectSuccess(first, 'DEL', containerId)
  if (first.signal || chance(10)) {
    expectSuccess(
      await runPlugin({ command: 'DEL', config, ...ids, ...(chance(30) && { netns: '' }) }),
      'DEL again',
      containerId,
    )
  }
  if (!existsSync(`/run/netns/pod${runtime}`)) createNetns(`pod${runtime}`)
}

/** One call in six is killed at a random moment; most calls take less than 15 ms. */
async function maybeKilled(call: PluginCall): Promise<PluginAnswer> {
  if (!chance(17)) {
    count(call.command)
    return runPlugin(call)
  }
  const child = spawnPlugin(call, inputOf(call))
  await sleep(random(0, 15))
  child.kill('SIGKILL')
  const answer = await answerOf(child)
  count(answer.signal ? `${call.command} killed` : `${call.command} that a kill missed`)
  return answer
}

async function collectGarbage(): Promise<void> {
  for (const config of NETWORKS) {
    const valid = turns.flatMap((turn, runtime) =>
      Array.from({ length: AHEAD }, (_, i) => ({ containerID: nameOf(runtime, turn + i), ifname: 'eth0' })),
    )
    expectSuccess(
      await runPlugin({ command: 'GC', config: { ...config, 'cni.dev/valid-attachments': valid } }),
      'GC',
      config.name,
    )
    count('GC')
  }
}

function kernelObjects(): string[] {
  return run(`ip -o link | cut -d: -f2
    for family in -4 -6; do ip $family rule; ip $family route show table all; ip $family -o address; done
    ip neigh; nft list ruleset; ls /run/netns`).split('\n')
}

/** Every file of the store but the locks, with its size in bytes, or the most that it may have. */
function storeFiles(): [path: string, size: string][] {
  const files = filesBelow(STATE).filter((path) => !path.includes('/.locks/'))
  return files.map((path) => {
    const { size } = statSync(`${STATE}/${path}`)
    const [, bound] = BOUNDS.find(([name]) => name.test(path)) ?? []
    return [path, bound && size <= bound ? `up to ${bound}` : `${size}`]
  })
}

/** See src/core/errors.ts. */
const INTERFACE_EXISTS = 104

function expectSuccess({ exitCode, signal, stdout }: PluginAnswer, what: string, whose: string): void {
  expect({ exitCode, signal }, `${what} of ${whose} (seed ${seed}): ${stdout}`).toEqual({
    exitCode: 0,
    signal: undefined,
  })
}
