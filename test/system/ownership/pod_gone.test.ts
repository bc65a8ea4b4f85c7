import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { L2, L3 } from '../../fakes/node.ts'
import { type PluginAnswer, type PluginCall, runPlugin } from '../../support/node/plugin.ts'
import { expectSuccess, leftOver, usePods } from '../../support/node/pods.ts'
import { run } from '../../support/node/private_namespaces.ts'
import { NOTHING } from '../../support/node/sandbox.ts'

/*
 * What happens to a pod behind our back, done by other people's tools to real namespaces, links and files; then DEL, as
 * late and as often as runtimes send it. A fake could not prove these: only the kernel knows what it says of such paths.
 */

const RECORD = '/var/lib/cni/bowline/net/????????????????????????????????'
const HOST_END = "$(ip -o link show type veth | sed 's/^[0-9]*: //; s/@.*//')"

/** A namespace that is simply gone, and one that was unmounted, are in test/conformance/masquerade.test.ts. */
const MISHAPS = [
  { mishap: 'nothing', inflict: '' },
  {
    mishap: 'the path is another kind of namespace',
    inflict: 'umount /run/netns/pod; mount --bind /proc/self/ns/uts /run/netns/pod',
  },
  { mishap: 'the path is a directory', inflict: 'ip netns delete pod; mkdir /run/netns/pod' },
  { mishap: 'the path is a FIFO', inflict: 'ip netns delete pod; mkfifo /run/netns/pod' },
  { mishap: 'eth0 was renamed', inflict: 'ip -n pod link set eth0 down; ip -n pod link set eth0 name lan0' },
  { mishap: 'eth0 was moved to another namespace', inflict: 'ip -n pod link set eth0 netns other' },
  { mishap: 'eth0 was moved to the node', inflict: 'ip -n pod link set eth0 netns $PPID name stray0' },
  { mishap: 'eth0 was deleted', inflict: 'ip -n pod link delete eth0' },
  { mishap: 'the host end was deleted', inflict: `ip link delete ${HOST_END}` },
  { mishap: 'the nftables table was deleted', inflict: 'nft delete table inet bowline' },
  { mishap: 'every rule was flushed', inflict: 'nft flush ruleset' },
  { mishap: 'the record was deleted', inflict: `rm ${RECORD}` },
  { mishap: 'the record was cut short', inflict: `truncate -s 20 ${RECORD}` },
  { mishap: 'the record and the namespace are gone', inflict: `rm ${RECORD}; ip netns delete pod` },
  {
    mishap: 'the leases were deleted',
    inflict: 'rm /var/lib/cni/networks/net/10.* /var/lib/cni/networks/net/fd*',
  },
  { mishap: 'the store was deleted', inflict: 'rm -r /var/lib/cni/bowline /var/lib/cni/networks' },
] as const

const ON_A_BRIDGE = [
  { mishap: 'the bridge was deleted', inflict: 'ip link delete br0' },
  { mishap: 'the host end was taken off the bridge', inflict: `ip link set ${HOST_END} nomaster` },
] as const

const CASES = [
  ...MISHAPS.map((one) => ({ ...one, mode: 'l3', config: L3 })),
  ...[...MISHAPS, ...ON_A_BRIDGE].map((one) => ({ ...one, mode: 'l2', config: L2 })),
]

const [pod] = usePods('pod', 'other')

afterEach(() => void run('umount /run/netns/pod 2>/dev/null || true; rm -rf /run/netns/pod'))

describe.each(CASES)('after $mishap (mode $mode)', ({ inflict, config }) => {
  beforeEach(async () => {
    expectSuccess(await call('ADD', config, pod.path))
    run(inflict)
  })

  it.each([
    ['with the path', true],
    ['without a path', false],
  ])('three DELs %s succeed and leave nothing', async (_, withPath) => {
    for (let i = 0; i < 3; i++) {
      expectSuccess(await call('DEL', config, withPath ? pod.path : undefined))
      expect(await leftOver()).toEqual(NOTHING)
    }
    expect(run('ip -n other -o link show type veth')).toBe('')
  })

  it('GC leaves nothing', async () => {
    expectSuccess(await call('GC', { ...config, 'cni.dev/valid-attachments': [] }))
    expect(await leftOver()).toEqual(NOTHING)
  })
})

it.each([
  ['of a dead process', 'wait'],
  ['of a zombie', 'leave'],
])('DEL with the path /proc/PID/ns/net %s succeeds and leaves nothing', async (_, end) => {
  // The shell does not ask for its child's end: it stays a zombie as long as the shell lives.
  const shell = Bun.spawn(['sh', '-c', 'unshare -n sleep infinity & echo $!; exec sleep infinity'], {
    stdout: 'pipe',
  })
  const { value } = await shell.stdout.getReader().read()
  const pid = Number(new TextDecoder().decode(value))
  const path = `/proc/${pid}/ns/net`
  run(
    `for i in $(seq 1000); do [ $(readlink ${path}) != $(readlink /proc/self/ns/net) ] && exit; sleep 0.01; done; exit 1`,
  )
  expectSuccess(await call('ADD', L3, path))
  process.kill(pid, 'SIGKILL')
  if (end === 'wait') shell.kill('SIGKILL')
  run(
    `for i in $(seq 1000); do case $(cut -d' ' -f3 /proc/${pid}/stat 2>/dev/null) in Z|'') exit;; esac; sleep 0.01; done; exit 1`,
  )
  expectSuccess(await call('DEL', L3, path))
  expect(await leftOver()).toEqual(NOTHING)
  shell.kill('SIGKILL')
})

function call(command: PluginCall['command'], config: object, netns?: string): Promise<PluginAnswer> {
  return runPlugin({ command, config, containerId: 'late', ...(netns && { netns }) })
}
