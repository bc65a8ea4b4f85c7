import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { L3 } from '../../fakes/node.ts'
import { onEach, type TestNode } from '../../support/node/node.ts'
import { NOTHING } from '../../support/node/sandbox.ts'
import { SCENARIOS, type Scenario, ScenarioRun, useNodes } from '../../support/node/scenario.ts'
import { type Injection, runTraced, type SystemCall } from '../../support/node/strace.ts'

/*
 * Each system call of the real binary fails, one a run, with the errors that the kernel or a disk may give there. strace
 * puts the error in the call's place, so that nothing has happened. Then all is done, or all is undone and said so.
 */

/** What may befall a call of ours. */
const ERRORS: Readonly<Record<string, readonly string[]>> = {
  read: ['EIO', 'EINTR'],
  write: ['EAGAIN', 'EINTR'],
  statx: ['EIO'],
  ioctl: ['ENOTTY'],
  flock: ['EINTR', 'ENOLCK'],
  setns: ['EPERM'],
  socket: ['EMFILE'],
  setsockopt: ['ENOMEM'],
  sendto: ['ENOBUFS', 'EINTR'],
  recvfrom: ['ENOBUFS', 'EINTR', 'EAGAIN'],
  pread64: ['EIO', 'EINTR'],
  pwrite64: ['ENOSPC', 'EINTR'],
  link: ['ENOSPC', 'EROFS'],
  rename: ['EIO', 'ENOSPC'],
  unlink: ['EIO', 'EBUSY'],
  rmdir: ['EBUSY', 'EROFS'],
  mkdir: ['ENOSPC', 'EROFS'],
  fchmod: ['EIO'],
  getdents64: ['EIO', 'ENOMEM'],
  mmap: ['ENOMEM'],
  madvise: ['ENOMEM'],
}
/** The same for `openat`, by what it is to do. A disk that knows no files without a name says EOPNOTSUPP. */
const OPEN_ERRORS = [
  { flag: 'O_TMPFILE', errnos: ['ENOSPC', 'EOPNOTSUPP'] },
  { flag: 'O_CREAT', errnos: ['ENOSPC', 'EINTR'] },
  { flag: 'O_WRONLY', errnos: ['EROFS', 'EMFILE'] },
  { flag: '', errnos: ['EIO'] },
]
/** What cannot fail as it is called. (A close that reports an error has closed all the same, which strace can't imitate.) */
const SAFE =
  /^(arch_prctl|set_tid_address|sigaltstack|rt_sig\w+|fcntl|prlimit64|clock_gettime|geteuid|close|exit_group)$/
/** Here each call fails with each of its errors, elsewhere with one of them. */
const WITH_ALL_ERRORS = ['ADD of the first pod, l3', 'DEL of the last pod, l3']

const nodes = useNodes()

describe.each(SCENARIOS)('$what', (scenario) => {
  it('does all or nothing when any of its system calls fails', async () => {
    const stages = await Promise.all(nodes.map((node) => ScenarioRun.setup(node, scenario)))
    const calls = await (stages[0] as ScenarioRun).rehearse()
    const plan = planErrors(calls, scenario)
    await onEach(stages, plan, (stage, { call, errno }) =>
      stage.disturb(call, `error=${errno}`, (answer, where) => stage.expectAllOrNothing(answer, where)),
    )
    console.log(`${scenario.what}: ${plan.length} errors at ${calls.length} system calls`)
    for (const stage of stages) await stage.expectPods()
  })
})

describe('refusals that do not end with one call', () => {
  const VICTIM = { config: L3, containerId: 'victim', pod: 0 }
  // Not all processors have `unlink`.
  const UNREMOVABLE: Injection = { name: '/^unlink', when: '1+', effect: 'error=EIO' }
  let node: TestNode

  beforeEach(async () => {
    node = nodes[0] as TestNode
    await node.clear()
  })

  // The next call finds the way free.
  afterEach(async () => {
    expect(await node.call({ command: 'DEL', ...VICTIM })).toMatchObject({ exitCode: 0 })
    expect(await node.left()).toEqual(NOTHING)
  })

  it('files that can’t be removed keep DEL from nothing else, and are named', async () => {
    await node.call({ command: 'ADD', ...VICTIM })
    const { answer } = await runTraced(node.place({ command: 'DEL', ...VICTIM }), UNREMOVABLE)
    expect(answer).toMatchObject({ exitCode: 1, output: { code: 103 } })
    expect(answer.stdout).toMatch(/10\.1\.0\.2: EIO.*fd00:1::2: EIO/)
    expect(await node.left()).toMatchObject({
      links: [],
      // Masquerading is the network's, and the record that could not be removed still names its subnets.
      nftElements: ['10.1.0.0/24', 'fd00:1::/64'],
      leases: { length: 2 },
      records: { length: 1 },
    })
  })

  it('a rollback that fails as well says what it left', async () => {
    const full: Injection = { name: 'linkat', when: '3+', effect: 'error=ENOSPC' }
    const { answer } = await runTraced(node.place({ command: 'ADD', ...VICTIM }), full, UNREMOVABLE)
    expect(answer).toMatchObject({ exitCode: 1, output: { code: 5 } })
    expect(answer.stdout).toMatch(/fd00:1::2: ENOSPC.*rollback failed in part.*: EIO/)
    expect(await node.left()).toMatchObject({ links: [], leases: { length: 1 }, records: { length: 1 } })
  })

  it.each([
    ['sendto', 'ENOBUFS'],
    ['recvfrom', 'EINTR'],
    ['recvfrom', 'ENOBUFS'],
    ['socket', 'EMFILE'],
    ['setns', 'EPERM'],
    ['openat', 'EMFILE'],
  ])('%s that always fails with %s ends ADD with an error, in bounded time', async (name, errno) => {
    const always: Injection = { name, when: '1+', effect: `error=${errno}` }
    const { answer } = await runTraced(node.place({ command: 'ADD', ...VICTIM }), always)
    expect(answer.exitCode).toBe(1)
    expect(answer.output.code).toBeGreaterThan(0)
  })
})

type PlannedError = { readonly call: SystemCall; readonly errno: string }

function planErrors(calls: readonly SystemCall[], { what }: Scenario): PlannedError[] {
  return calls.flatMap((call, at) => {
    const errnos = errnosOf(call)
    const chosen = WITH_ALL_ERRORS.includes(what)
      ? errnos
      : errnos.slice(at % (errnos.length || 1)).slice(0, 1)
    return chosen.map((errno) => ({ call, errno }))
  })
}

function errnosOf({ name, text }: SystemCall): readonly string[] {
  if (SAFE.test(name)) return []
  const isOpen = name === 'openat'
  // Some processors have only the newer form, such as renameat2.
  const errnos = isOpen
    ? OPEN_ERRORS.find(({ flag }) => text.includes(flag))?.errnos
    : ERRORS[name.replace(/at2?$/, '')]
  if (!errnos) throw new Error(`which errors can befall ${name}?`)
  return errnos
}
