import { describe, expect, it } from 'vitest'
import { L3 } from '../../fakes/node.ts'
import { onEach } from '../../support/node/node.ts'
import {
  RECOVERIES,
  type Recovery,
  SCENARIOS,
  type Scenario,
  ScenarioRun,
  useNodes,
} from '../../support/node/scenario.ts'
import type { SystemCall } from '../../support/node/strace.ts'
import { chooseSeed, randomNumbers } from '../../support/seed.ts'

/*
 * The real binary is killed before each of its own system calls, one run a call, on real nodes. Then the runtime does what
 * runtimes do: DEL, or ADD again, or GC. Nothing of the attachment may be left.
 */

/** Calls that change something outside of the process. After each of them ADD is tried as well as DEL and GC. */
const CHANGING = /^(mkdir|link|pwrite64|rename|unlink|rmdir|fchmod|write|openat\(.*O_CREAT|sendto)/
/** Requests to netlink and nftables that only ask. */
const QUESTION = /^(?!.*nlmsg_type=(?!\w+_GET)).*nlmsg_type=/
/** Of each scenario. */
const KILLS_AT_RANDOM = 16

/** The last step in the pod fails: no route leads to that gateway. */
const UNREACHABLE = { ...L3, ipam: { ...L3.ipam, routes: [{ dst: '10.9.0.0/16', gw: '192.0.2.77' }] } }

const portMappings = (['tcp', 'udp'] as const).map((protocol) => ({
  hostPort: 8080,
  containerPort: 80,
  protocol,
}))
const PUBLISHED = { ...L3, runtimeConfig: { portMappings } }

const KILLED: readonly Scenario[] = [
  ...SCENARIOS,
  { what: 'ADD with host ports, l3', config: PUBLISHED, command: 'ADD' },
  { what: 'DEL with host ports, l3', config: PUBLISHED, command: 'DEL', before: 'attached' },
  {
    what: 'ADD that fails beside another pod, l3',
    config: UNREACHABLE,
    command: 'ADD',
    neighbour: L3,
    exitCode: 1,
  },
]

const nodes = useNodes()

describe.each(KILLED)('$what', (scenario) => {
  it('may be killed before any of its system calls: DEL, ADD and GC clear it all away', async () => {
    const stages = await Promise.all(nodes.map((node) => ScenarioRun.setup(node, scenario)))
    const calls = await (stages[0] as ScenarioRun).rehearse()
    const plan = planKills(calls)
    await onEach(stages, plan, (stage, { call, recovery }) =>
      stage.disturb(call, 'signal=KILL', (_, where) => stage.recover(recovery, `${where}, then ${recovery}`)),
    )
    console.log(`${scenario.what}: ${plan.length} kills before ${calls.length} system calls`)
    for (const stage of stages) await stage.expectPods()
  })

  // Within a system call, too.
  it('may be killed at any moment', async () => {
    const stages = await Promise.all(nodes.map((node) => ScenarioRun.setup(node, scenario)))
    const seed = chooseSeed()
    const random = randomNumbers(seed)
    const longestUs = 1000 * Math.max(...(await Promise.all(stages.map(timeUndisturbed))))
    let killed = 0
    await onEach(stages, Array.from({ length: KILLS_AT_RANDOM }), async (stage) => {
      const ms = random(0, longestUs) / 1000
      const recovery = RECOVERIES[random(0, 2)] as Recovery
      if ((await stage.run(ms)).signal === 'SIGKILL') killed++
      await stage.recover(recovery, `killed after ${ms} ms (seed ${seed}), then ${recovery}`)
    })
    console.log(
      `${scenario.what}: ${killed} of ${KILLS_AT_RANDOM} ended by a kill at a random moment, seed ${seed}`,
    )
    expect(killed).toBeGreaterThan(0)
    for (const stage of stages) await stage.expectPods()
  })
})

/** How long a run takes with as many others at the same time as later: ms. */
async function timeUndisturbed(stage: ScenarioRun): Promise<number> {
  const answer = await stage.run()
  stage.expectEnd(answer)
  await stage.recover('DEL', 'an undisturbed run, then DEL')
  return answer.ms
}

type Kill = { readonly call: SystemCall; readonly recovery: Recovery }

function planKills(calls: readonly SystemCall[]): Kill[] {
  return calls.flatMap((call, at) => {
    const before = calls[at - 1]?.text ?? ''
    const changed = CHANGING.test(before) && !QUESTION.test(before)
    const recoveries: readonly Recovery[] = changed ? RECOVERIES : at % 2 ? ['DEL'] : ['GC']
    return recoveries.map((recovery) => ({ call, recovery }))
  })
}
