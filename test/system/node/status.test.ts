import { writeFileSync } from 'node:fs'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { BOWLINE, type PluginAnswer, type PluginCall, runPlugin } from '../../support/node/plugin.ts'
import { run } from '../../support/node/private_namespaces.ts'
import { clearNode, createNetns, enterSandbox, filesBelow, removeNetns } from '../../support/node/sandbox.ts'

/* STATUS on a real node that can or can't serve an ADD: disk, rights, addresses and ports. */
const L3 = {
  cniVersion: '1.1.0',
  name: 'net',
  type: 'bowline',
  mode: 'l3',
  ipMasq: true,
  ipam: { type: 'bowline-ipam', ranges: [[{ subnet: '10.6.0.0/29' }]] },
}
const L2 = { ...L3, mode: 'l2', bridge: 'br0', isGateway: true }
const STATE = '/var/lib/cni'

async function status(config: object = L3, more: Partial<PluginCall> = {}): Promise<PluginAnswer> {
  return runPlugin({ command: 'STATUS', config, ...more })
}

async function add(containerId: string, config: object): Promise<PluginAnswer> {
  createNetns(containerId)
  return runPlugin({ command: 'ADD', config, containerId, netns: `/run/netns/${containerId}` })
}

beforeAll(enterSandbox)

beforeEach(() => {
  run(`mount -t tmpfs -o size=256k tmpfs ${STATE}`)
})

afterEach(async () => {
  run(`umount ${STATE}`)
  for (const name of run('ip netns list | cut -d" " -f1').split('\n').filter(Boolean)) removeNetns(name)
  await clearNode()
})

describe.each(['bowline', 'bowline-ipam'])('STATUS of %s', (calledAs) => {
  it('says yes on a fresh node and leaves it fresh', async () => {
    expect(await status(L3, { calledAs })).toMatchObject({ exitCode: 0, stdout: '' })
    expect(filesBelow(STATE)).toEqual([])
    expect(run('nft list ruleset')).toBe('')
  })

  it('answers 50 on a disk that can not be written, and names it', async () => {
    run(`mount -o remount,ro ${STATE}`)
    const { output } = await status(L3, { calledAs })
    expect(output).toMatchObject({ code: 50, details: expect.stringContaining('Mount the file') })
    expect(output.msg).toMatch(/write below the state directory: .*\/var\/lib\/cni\/bowline.*EROFS/)
  })

  it('answers 50 on a disk that is full', async () => {
    run(`head -c 300000 /dev/zero > ${STATE}/ballast || true`)
    expect((await status(L3, { calledAs })).output).toMatchObject({
      code: 50,
      msg: expect.stringMatching(/ENOSPC/),
    })
  })
})

describe('STATUS of bowline', () => {
  it('answers 50 without the right to change the network', async () => {
    const program = '/run/unprivileged'
    writeFileSync(
      program,
      `#!/bin/sh\nexec setpriv --bounding-set=-net_admin --inh-caps=-net_admin ${BOWLINE}\n`,
      { mode: 0o755 },
    )
    for (const config of [L3, { ...L3, ipMasq: false }]) {
      const { output } = await status(config, { program })
      expect(output).toMatchObject({ code: 50, details: expect.stringContaining('CAP_NET_ADMIN') })
    }
    run(`rm ${program}`)
  })

  it('answers 50 when all addresses are held, until a pod is gone, though its DEL never came', async () => {
    const names = ['a', 'b', 'c', 'd', 'e']
    for (const name of names) expect(await add(name, L3), name).toMatchObject({ exitCode: 0 })
    const full = await status()
    expect(full.output).toMatchObject({ code: 50, msg: expect.stringContaining('5 held, 5 by attachments') })
    expect((await add('f', L3)).output.code).toBe(100)
    removeNetns('c')
    // The kernel takes the namespace apart in its own time.
    run(
      'for i in $(seq 100); do [ "$(ip -o link show type veth | wc -l)" = 4 ] && exit; sleep 0.1; done; exit 1',
    )
    expect(await status()).toMatchObject({ exitCode: 0 })
    removeNetns('f')
    const { output } = await add('f', L3)
    expect(output.ips?.map(({ address }) => address)).toEqual(['10.6.0.4/29'])
    expect((await status()).output.code).toBe(50)
  })

  it('answers 50 when the bridge has all the ports that it can have, as ADD then finds out', async () => {
    run(`ip link add br0 type bridge
      seq 1023 | sed 's/.*/link add i& group 7 type ifb\\nlink set i& master br0/' | ip -batch -`)
    const { output } = await status(L2)
    expect(output).toMatchObject({ code: 50, msg: expect.stringContaining('br0 has 1023 ports') })
    expect((await add('a', L2)).output).toMatchObject({
      code: 100,
      msg: expect.stringContaining('br0 has 1023 ports'),
    })
    run('ip link delete i7')
    expect(await status(L2)).toMatchObject({ exitCode: 0 })
    expect(
      await runPlugin({ command: 'ADD', config: L2, containerId: 'a', netns: '/run/netns/a' }),
    ).toMatchObject({
      exitCode: 0,
    })
    run('ip link delete group 7')
  })
})
