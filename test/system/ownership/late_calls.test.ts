import { readdirSync, writeFileSync } from 'node:fs'
import { beforeEach, describe, expect, it } from 'vitest'
import { L2, L3 } from '../../fakes/node.ts'
import { type PluginAnswer, type PluginCall, runPlugin } from '../../support/node/plugin.ts'
import { expectSuccess, leftOver, linksIn, usePods } from '../../support/node/pods.ts'
import { run } from '../../support/node/private_namespaces.ts'
import { createNetns, link, type Netns, NOTHING, removeNetns, residue } from '../../support/node/sandbox.ts'

/*
 * What is removed must be shown to be the attachment's own. People and udev rename links, names, inodes and paths are used
 * again, runtimes call late: here the interface of A is found under whatever name, and B's stays whatever points to it.
 */
const MODES = [
  { mode: 'l3', config: L3 },
  { mode: 'l2', config: { ...L2, macspoofchk: true } },
]
const LEASES = '/var/lib/cni/networks/net'
const RECORD = '/var/lib/cni/bowline/net/????????????????????????????????'
const SAME_MAC = 'MAC=02:00:00:00:00:99'
const LOSE_RECORD = `rm ${RECORD}`
const NO_LINKS: readonly string[] = []

const [a, b] = usePods('a', 'b', 'other')
let config: object

type Added = { readonly answer: PluginAnswer; readonly host: string; readonly prevResult: object }

function call(
  command: PluginCall['command'],
  containerId: string,
  netns?: string,
  more: object = {},
  args = '',
): Promise<PluginAnswer> {
  return runPlugin({
    command,
    config: { ...config, ...more },
    containerId,
    args,
    ...(netns && { netns }),
  })
}

async function add(containerId: string, { path }: Netns, more: object = {}, args = ''): Promise<Added> {
  const answer = await call('ADD', containerId, path, more, args)
  expectSuccess(answer)
  const host = answer.output.interfaces?.find(({ name }) => name.startsWith('veth'))?.name ?? ''
  return { answer, host, prevResult: answer.output }
}

/** CHECK also asks for the lease, the masquerading and the check of MACs. */
async function expectWhole(containerId: string, netns: Netns, { prevResult }: Added): Promise<void> {
  expectSuccess(await call('CHECK', containerId, netns.path, { prevResult }))
}

describe.each(MODES)('in mode $mode', ({ config: ofMode }) => {
  beforeEach(() => {
    config = ofMode
  })

  describe('a pod stays', () => {
    it('when a repeated DEL of another comes with its path', async () => {
      const [first, second] = [await add('aaaa', a), await add('bbbb', b)]
      removeNetns('a')
      expectSuccess(await call('DEL', 'aaaa', a.path, { prevResult: first.prevResult }))
      for (const prevResult of [first.prevResult, second.prevResult, undefined]) {
        expectSuccess(await call('DEL', 'aaaa', b.path, { prevResult }))
        await expectWhole('bbbb', b, second)
      }
    })

    it('when the first DEL of another comes with its path, which removes the other', async () => {
      const [first, second] = [await add('aaaa', a), await add('bbbb', b)]
      expectSuccess(await call('DEL', 'aaaa', b.path, { prevResult: second.prevResult }))
      expect(linksIn(a)).toEqual(NO_LINKS)
      expect(await link(first.host)).toBeUndefined()
      await expectWhole('bbbb', b, second)
    })

    it.each([
      ['with the record', ''],
      ['without the record', `rm ${RECORD}`],
    ])('when it is at the path and the inode of another that had no DEL, %s', async (_, inflict) => {
      const first = await add('aaaa', a)
      removeNetns('a')
      run(inflict)
      createNetns('a')
      const second = await add('bbbb', a)
      for (const prevResult of [first.prevResult, undefined, first.prevResult]) {
        expectSuccess(await call('DEL', 'aaaa', a.path, { prevResult }))
        await expectWhole('bbbb', a, second)
      }
    })

    it('when another asked for the same MAC before', async () => {
      const first = await add('aaaa', a, {}, SAME_MAC)
      removeNetns('a')
      createNetns('a')
      const second = await add('bbbb', a, {}, SAME_MAC)
      for (const _time of [1, 2]) {
        expectSuccess(await call('DEL', 'aaaa', a.path, { prevResult: first.prevResult }))
        await expectWhole('bbbb', a, second)
      }
    })

    it.each(['dddd\r\neth0', 'dddd'])(
      'when a lease without a record (%j) is freed with its path',
      async (text) => {
        const second = await add('bbbb', b)
        writeFileSync(`${LEASES}/10.1.0.77`, text)
        expectSuccess(await call('DEL', 'dddd', b.path, { prevResult: second.prevResult }))
        await expectWhole('bbbb', b, second)
        expect(readdirSync(LEASES)).not.toContain('10.1.0.77')
      },
    )

    it.each([
      ['no record of it is left', `rm ${RECORD}`],
      ['its record can not be read', `truncate -s 20 ${RECORD}`],
      ['it has the alias of the other', 'ip link set $HOST alias "bowline net aaaa eth0"'],
      ['it was renamed', 'ip link set $HOST name lan0'],
    ])('when a DEL of another comes with its path and %s', async (_, inflict) => {
      const second = await add('bbbb', b)
      run(inflict.replace('$HOST', second.host))
      for (const prevResult of [undefined, second.prevResult]) {
        expectSuccess(await call('DEL', 'aaaa', b.path, { prevResult }))
        expect(linksIn(b)).toEqual(['eth0'])
      }
    })

    it('when it has taken the name that the host end of another had', async () => {
      const [first, second] = [await add('aaaa', a), await add('bbbb', b)]
      run(`ip link set ${first.host} name lan0; ip link set ${second.host} name ${first.host}`)
      expectSuccess(await call('DEL', 'aaaa', a.path))
      expect([linksIn(a), linksIn(b)]).toEqual([[], ['eth0']])
    })
  })

  describe('a link of somebody else stays', () => {
    const FOREIGN = 'ip link add $HOST type veth peer name eth0 netns a'

    it.each([
      ['has the name of the host end, and of the pod end', `ip link del $HOST; ${FOREIGN}`],
      [
        'has the name, and the alias of another network',
        `ip link del $HOST; ${FOREIGN}; ip link set $HOST alias "bowline x aaaa eth0"`,
      ],
      [
        'is in a new namespace with the same path and inode',
        `ip link del $HOST; ip netns del a; ip netns add a; ${FOREIGN}`,
      ],
    ])('that %s', async (_, inflict) => {
      const { host, prevResult } = await add('aaaa', a)
      run(inflict.replaceAll('$HOST', host))
      for (const _time of [1, 2]) {
        expectSuccess(await call('DEL', 'aaaa', a.path, { prevResult }))
        expect(linksIn(a)).toEqual(['eth0'])
        expect(await link(host)).toBeDefined()
        expect((await residue()).leases).toEqual([])
      }
    })

    it('that has the name of the host end as an alternative name', async () => {
      const { host } = await add('aaaa', a)
      run(
        `ip link del ${host}; ip link add lan0 type veth peer name lan1; ip link property add dev lan0 altname ${host}`,
      )
      for (const _time of [1, 2]) expectSuccess(await call('DEL', 'aaaa', a.path))
      expect(await link('lan0')).toBeDefined()
      run('ip link del lan0')
    })

    it('that has the name in the way of ADD, which fails and changes nothing', async () => {
      const { host } = await add('aaaa', a)
      expectSuccess(await call('DEL', 'aaaa', a.path))
      run(`ip link add ${host} type veth peer name x0`)
      const before = run(`ip -d link show dev ${host}`)
      const answer = await call('ADD', 'aaaa', a.path)
      expect([answer.exitCode, answer.output.code]).toEqual([1, 104])
      expect(answer.stdout).toContain(`ip link set dev ${host} name NAME`)
      expect(run(`ip -d link show dev ${host}`)).toBe(before)
      expect(linksIn(a)).toEqual(NO_LINKS)
      for (const _time of [1, 2]) expectSuccess(await call('DEL', 'aaaa', a.path))
      expect(await link(host)).toBeDefined()
      run(`ip link del ${host}`)
      expect(await leftOver()).toEqual(NOTHING)
    })

    it('that GC finds with the beginning of our alias', async () => {
      await add('aaaa', a)
      run('ip link add lan0 type veth peer name lan1; ip link set lan0 alias "bowline net spare"')
      expectSuccess(await call('GC', '', undefined, { 'cni.dev/valid-attachments': [] }))
      expect(await link('lan0')).toBeDefined()
      run('ip link del lan0')
      expect(await leftOver()).toEqual(NOTHING)
    })

    it.each([
      ['with a record', ''],
      ['without a record', `rm ${RECORD}`],
      ['with a damaged record', `truncate -s 20 ${RECORD}`],
    ])('that has the name by the time of a GC, %s', async (_, inflict) => {
      const { host } = await add('aaaa', a)
      run(`${inflict}
 ip link del ${host}; ${FOREIGN.replace('$HOST', host)}`)
      expectSuccess(await call('GC', '', undefined, { 'cni.dev/valid-attachments': [] }))
      expect(await link(host)).toBeDefined()
    })
  })

  describe('the interface is found and goes', () => {
    const RENAMED = 'ip link set $HOST name lan7'
    const POD_RENAMED = 'ip -n a link set eth0 name lan0'
    const MOVED = 'ip link set $HOST netns other'
    const [MAC_7, MAC_8] = ['address 02:00:00:00:00:07', 'address 02:00:00:00:00:08']
    const DAMAGES = {
      'the host end was renamed': RENAMED,
      'the pod end was renamed': POD_RENAMED,
      'both ends were renamed': `${RENAMED}; ${POD_RENAMED}`,
      'the host end was renamed, and has another alias': `${RENAMED}; ip link set lan7 alias mine`,
      'the host end has another alias': 'ip link set $HOST alias mine',
      'the host end was renamed, and has another MAC': `${RENAMED}; ip link set lan7 ${MAC_7}`,
      'the host end has another MAC': `ip link set $HOST ${MAC_7}`,
      'the host end has another MAC and alias': `ip link set $HOST ${MAC_7} alias mine`,
      'the host end was renamed, and has another MAC and alias': `${RENAMED}; ip link set lan7 ${MAC_7} alias mine`,
      'the host end was renamed, and both ends have other MACs and aliases': `${RENAMED}
        ip link set lan7 ${MAC_7} alias mine; ip -n a link set eth0 ${MAC_8} alias mine`,
      'the host end was moved to another namespace': MOVED,
      'the host end was moved, and the pod end renamed': `${MOVED}; ${POD_RENAMED}`,
      'the host end was moved, and the pod end has another MAC': `${MOVED}; ip -n a link set eth0 ${MAC_8}`,
      'the host end was moved under another name': `${MOVED} name lan7`,
      'the host end has alternative names': `ip link property add dev $HOST altname lan8; ${RENAMED}`,
      'its name is the alternative name of a link': `${RENAMED}; ip link add x0 type veth peer name x1
        ip link property add dev x0 altname $HOST`,
      'the record is lost, and the host end renamed': `${LOSE_RECORD}; ${RENAMED}`,
    }
    const DAMAGES_WITH_A_PATH = {
      'the record is lost': LOSE_RECORD,
      'the record is lost, and both ends are renamed': `${LOSE_RECORD}; ${RENAMED}; ${POD_RENAMED}`,
      'the record is lost, and the host end was moved': `${LOSE_RECORD}; ${MOVED}`,
    }
    const REMOVALS: Record<string, () => Promise<PluginAnswer>> = {
      DEL: () => call('DEL', 'aaaa', a.path),
      'DEL without a path': () => call('DEL', 'aaaa'),
      GC: () => call('GC', '', undefined, { 'cni.dev/valid-attachments': [] }),
    }

    it.each([
      ...Object.entries({ ...DAMAGES, ...DAMAGES_WITH_A_PATH }).map((damage) => ['DEL', ...damage] as const),
      ...Object.entries(DAMAGES).map(
        (damage, i) => [i % 2 ? 'GC' : 'DEL without a path', ...damage] as const,
      ),
    ])('by %s, which is repeated, when %s', async (by, _, inflict) => {
      const { host } = await add('aaaa', a)
      run(inflict.replaceAll('$HOST', host))
      for (const _time of [1, 2]) expectSuccess((await REMOVALS[by]?.()) ?? expect.fail(by))
      expect(linksIn(a)).toEqual(NO_LINKS)
      run('ip link del x0 2>/dev/null || true')
      expect(await leftOver()).toEqual(NOTHING)
    })
  })

  it('a pod whose host end was renamed stays when GC has it in its list', async () => {
    const added = await add('aaaa', a)
    run(`ip link set ${added.host} name lan7`)
    const valid = [{ containerID: 'aaaa', ifname: 'eth0' }]
    for (const inflict of ['', LOSE_RECORD]) {
      run(inflict || ':')
      expectSuccess(await call('GC', '', undefined, { 'cni.dev/valid-attachments': valid }))
      expect(linksIn(a)).toEqual(['eth0'])
    }
  })

  it.each([
    ['a network whose name fills the alias', 'n'.repeat(190), `${'c'.repeat(60)}1`, `${'c'.repeat(60)}2`],
    ['containers with ids that begin alike', 'net', `${'c'.repeat(200)}1`, `${'c'.repeat(200)}2`],
  ])('a pod stays when a DEL of another comes in %s', async (_, name, first, second) => {
    config = { ...ofMode, name }
    const added = await add(second, b)
    run(`ip link set ${added.host} name lan7`)
    for (const path of [undefined, b.path]) expectSuccess(await call('DEL', first, path))
    run(`ip link set lan7 name ${added.host}`)
    await expectWhole(second, b, added)
    expectSuccess(await call('DEL', second, b.path))
    expect(await leftOver()).toEqual(NOTHING)
  })

  it('an address whose pod lives under a renamed host end is not given to another by a full pool', async () => {
    const ranges = [[{ subnet: '10.1.0.0/24', rangeStart: '10.1.0.7', rangeEnd: '10.1.0.7' }]]
    const single = { ipam: { type: 'bowline-ipam', ranges } }
    const first = await add('aaaa', a, single)
    run(`ip link set ${first.host} name lan7`)
    // The pod keeps its namespace though the path is gone.
    const holder = Bun.spawn(['ip', 'netns', 'exec', 'a', 'sleep', 'infinity'])
    run(
      `for i in $(seq 500); do [ "$(readlink /proc/${holder.pid}/ns/net)" = "$(ip netns exec a readlink /proc/self/ns/net)" ] && exit; sleep 0.01; done; exit 1`,
    )
    run('umount /run/netns/a; rm /run/netns/a')
    const refused = await call('ADD', 'bbbb', b.path, single)
    expect(refused.output.code, refused.stdout).toBe(100)
    holder.kill('SIGKILL')
    await holder.exited
    run('for i in $(seq 500); do ip link show dev lan7 2>/dev/null || exit 0; sleep 0.01; done; exit 1')
    expect((await add('bbbb', b, single)).answer.output.ips?.[0]?.address).toMatch(/^10\.1\.0\.7\//)
  })

  it.each([
    ['the host end', 'ip link set $HOST name lan7', /host interface veth\w+ was renamed to lan7/],
    ['the pod end', 'ip -n a link set eth0 name lan0', /interface eth0 in the pod was renamed to lan0/],
  ])('CHECK says that %s was renamed, and its command mends it', async (_, inflict, complaint) => {
    const added = await add('aaaa', a)
    run(inflict.replace('$HOST', added.host))
    const { exitCode, output } = await call('CHECK', 'aaaa', a.path, { prevResult: added.prevResult })
    expect([exitCode, output.msg]).toEqual([1, expect.stringMatching(complaint)])
    for (const [, command = ''] of output.details?.matchAll(/\[run: ([^\]]*)\]/g) ?? []) run(command)
    await expectWhole('aaaa', a, added)
  })
})
