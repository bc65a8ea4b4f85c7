import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { createFakeApiServer, type FakeApiServer } from '../../fakes/api_server.ts'
import { type AgentProcess, startAgentProcess, writeAccount } from '../../support/node/agent.ts'
import { frame, udpPacket } from '../../support/node/forged_packets.ts'
import { callFor, expectSuccess, usePods } from '../../support/node/pods.ts'
import { run } from '../../support/node/private_namespaces.ts'
import { send } from '../../support/node/raw_frames.ts'
import { link } from '../../support/node/sandbox.ts'
import { until } from '../../support/until.ts'

/* The agent makes again what somebody has removed of the checks of pods on a bridge: by events, since `until` gives up before the next audit. */
const CONFIG = {
  cniVersion: '1.1.0',
  name: 'net',
  type: 'bowline',
  bridge: 'br0',
  isGateway: true,
  macspoofchk: true,
  ipspoofchk: true,
  ipam: { type: 'bowline-ipam', ranges: [[{ subnet: '10.1.0.0/24' }], [{ subnet: 'fd00:1::/64' }]] },
}
const work = mkdtempSync(join(tmpdir(), 'checks-'))
const [podA, podB] = usePods('a', 'b')
let server: FakeApiServer
let agent: AgentProcess | undefined

beforeAll(() => {
  writeAccount(work)
  server = createFakeApiServer()
})
afterEach(async () => {
  agent?.kill('SIGKILL')
  await agent?.exited
  for (const pod of [podA, podB]) expectSuccess(await callFor(pod, 'DEL', CONFIG))
})
afterAll(async () => {
  await server.stop()
  rmSync(work, { recursive: true })
})

const listed = (): string[] => run('nft list table bridge bowline 2>/dev/null || true').split('\n').sort()

it.each([
  'nft flush ruleset',
  'nft delete table bridge bowline',
  'nft flush map bridge bowline macspoofchk',
  'nft flush map bridge bowline ipspoofchk',
  'nft flush chain bridge bowline sources',
  'nft flush chain bridge bowline "$(nft list table bridge bowline | grep -o "mac-[0-9a-f]*" | head -1)"',
  'nft flush chain bridge bowline "$(nft list table bridge bowline | grep -o "nd-[0-9a-f]*" | head -1)"',
])('after %s', async (damage) => {
  for (const pod of [podA, podB]) expectSuccess(await callFor(pod, 'ADD', CONFIG))
  agent = startAgentProcess(server, work, {})
  await until('the start', () => run('curl -s 127.0.0.1:19474/livez || true').includes('alive'))
  const whole = listed()
  expect(whole.join()).toMatch(/mac-.*nd-/)
  run(damage)
  await until('the same as before', () => `${listed()}` === `${whole}`)
  const gateway = (await link('br0'))?.address ?? ''
  const forged = frame(gateway, '02:66:66:66:66:66', 'ip', udpPacket('10.1.0.3', '10.1.0.1', 4000))
  await send(podA, 'eth0', forged)
  expect(run('bridge fdb show br br0')).not.toContain('02:66:66:66:66:66')
})
