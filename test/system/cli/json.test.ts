import { beforeEach, expect, it } from 'vitest'
import { bowline, CONF_DIR, writeNetworks } from '../../support/node/people.ts'
import { callFor, expectSuccess, usePods } from '../../support/node/pods.ts'
import { run } from '../../support/node/private_namespaces.ts'
import { removeNetns } from '../../support/node/sandbox.ts'

/* What programs read of the commands for people: the same thing has the same name everywhere, and a unit stands in the name. */
const [a] = usePods('a')
const CONFIG = {
  cniVersion: '1.1.0',
  name: 'lab',
  type: 'bowline',
  mode: 'l3',
  ipMasq: true,
  ipam: { type: 'bowline-ipam', ranges: [[{ subnet: '10.1.0.0/24' }]], routes: [{ dst: '0.0.0.0/0' }] },
}
const FILE = `${CONF_DIR}/10.conflist`
const WHOLE = expect.toSatisfy(Number.isSafeInteger)
const POD = { network: 'lab', pod: 'a', ifName: 'eth0' }
const POOL = {
  range: '10.1.0.1-10.1.0.254',
  subnets: ['10.1.0.0/24'],
  total: 253,
  free: 252,
  used: 1,
  stale: 0,
  unrecorded: 0,
  reserved: 1,
}

beforeEach(async () => {
  writeNetworks({ '10.conflist': { cniVersion: '1.1.0', name: 'lab', plugins: [CONFIG] } })
  const runtimeConfig = { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] }
  expectSuccess(await callFor(a, 'ADD', { ...CONFIG, runtimeConfig }))
})

const json = async (...words: string[]) => {
  const places = ['pods', 'nodes'].includes(words[0] ?? '') ? [] : ['--conf-dir', CONF_DIR]
  return (await bowline(...words, '--json', ...places)).json
}

it('of pods', async () => {
  expect(await json('pods')).toEqual({
    pods: [
      {
        ...POD,
        containerId: 'a',
        addresses: ['10.1.0.2'],
        hostPorts: ['8080:80/tcp'],
        hostIfName: expect.stringMatching(/^veth[0-9a-f]{11}$/),
        ageMs: WHOLE,
        receivedBytes: WHOLE,
        sentBytes: WHOLE,
        state: 'ok',
      },
    ],
  })
})

it('of the node, its networks and their addresses', async () => {
  expect(await json('status')).toEqual({
    version: expect.any(String),
    node: run('hostname').trim(),
    kernel: run('uname -r').trim(),
    features: {
      nftables: true,
      ipv4Forwarding: true,
      ipv6: true,
      ipv6Forwarding: expect.any(Boolean),
      bridgeNetfilter: expect.any(Boolean),
    },
    networks: [{ network: 'lab', mode: 'l3', pods: 1, file: FILE, pools: [POOL] }],
    attachments: { total: 1, drifted: 0, stale: 0 },
    drift: [],
    findings: expect.any(Array),
  })
  const addresses = { '10.1.0.1': 'reserved', '10.1.0.2': 'used' }
  expect(await json('ipam')).toEqual({ networks: [{ network: 'lab', pools: [{ ...POOL, addresses }] }] })
})

it('of what is missing, and of what nobody can judge', async () => {
  run('ip route del 10.1.0.2')
  const found = [
    {
      ...POD,
      found: [
        {
          what: expect.stringContaining('10.1.0.2'),
          commands: [expect.stringMatching(/^ip route /)],
          automatic: true,
        },
      ],
    },
  ]
  const rest = { repaired: false, errors: [] }
  expect(await json('repair')).toEqual({ found, left: found, unjudged: [], ...rest })
  writeNetworks({})
  const unjudged = [{ ...POD, reason: expect.stringContaining('no conflist of network lab') }]
  expect(await json('repair')).toEqual({ found: [], left: [], unjudged, ...rest })
})

it('of what pods have left that are gone', async () => {
  removeNetns('a')
  await expect
    .poll(() => json('gc'))
    .toEqual({
      found: [{ network: 'lab', what: expect.stringMatching(/^a eth0/), reason: 'its pod is gone' }],
      removed: false,
      errors: [],
    })
})

it('of an error', async () => {
  expect(await json('nodes')).toEqual({
    error: { message: expect.any(String), hint: expect.any(String), code: expect.any(Number) },
  })
})
