import { beforeEach, describe, expect, it } from 'vitest'
import type { MeshFinding } from '../../src/overlay/mesh/view.ts'
import { createFakeCommandLine, type FakeCommandLine } from '../fakes/command.ts'
import { meshOf, type Trouble } from '../support/overlay/mesh_view.ts'

let node: FakeCommandLine
beforeEach(() => {
  node = createFakeCommandLine()
})

function shown(count: number, troubles: readonly Trouble[] = [], nameOf?: (i: number) => string): string[] {
  node.agent = { '/mesh': meshOf(count, troubles, [], nameOf) }
  return node.run('nodes').stdout.split('\n')
}

const FINDING: MeshFinding = {
  check: 'mesh',
  level: 'error',
  peer: 'node2',
  message: 'node node2 is away',
  hint: 'ping it',
}

describe('bowline nodes', () => {
  it('shows what this node measures, and the matrix of all', () => {
    expect(
      shown(3, [
        [0, 2, 'silent'],
        [2, 1, 'lossy'],
      ]),
    ).toEqual([
      'node1: 3 nodes, backend direct, each measured every 10s',
      '',
      'NODE   ADDRESS    PATH    ROUND TRIP   LOSS   MTU  SEEN  STATE',
      'node2  192.0.2.2  direct     0.19 ms    0 %  1500    3s  ok',
      'node3  192.0.2.3  direct           –  100 %  1500    3s  ✗ silent (pods IPv4, pods IPv6)',
      '',
      'Round trips between pods in ms: from the node at the left to the node above',
      '       node1  node2  node3',
      'node1      ·   0.19      ✗',
      'node2   0.22      ·   0.24',
      'node3   0.25  0.26!      ·',
      '! loses packets   ✗ nothing arrives',
      '',
      '✓ nothing is wrong, as far as has been measured',
    ])
  })

  it('marks packets that are encapsulated where others are not', () => {
    expect(shown(5).filter((line) => line.includes('»'))).toHaveLength(6)
    expect(shown(4).join('')).not.toContain('»')
  })

  it.each([5, 12, 20, 30, 60, 128])('fits %d nodes into 80 columns', (count) => {
    const lines = shown(count, [], (i) => `ip-10-0-0-${i}.eu-west-1.compute.internal`)
    // But for the first line, which has the whole name.
    expect(Math.max(...lines.slice(1).map((line) => [...line].length))).toBeLessThanOrEqual(83)
    expect(lines.join('\n').split('eu-west-1')).toHaveLength(2)
  })

  it('lists of many nodes those with which something is wrong, and all if asked', () => {
    const lines = shown(60, [[0, 41, 'silent']])
    expect(lines.filter((line) => /^node\d+ /.test(line))).toEqual([
      expect.stringMatching(/^node42 .*✗ silent/),
    ])
    expect(lines).toContain('The other 58 nodes are ok: bowline nodes --all lists them.')
    expect(node.run('nodes', '--all').stdout.match(/^node\d+ /gm)).toHaveLength(59)
  })

  it('spells the matrix out for programs', () => {
    node.agent = { '/mesh': meshOf(2, [[1, 0, 'small']], [FINDING]) }
    const { matrix, findings } = node.run('nodes', '--json').json
    expect(matrix).toHaveLength(2 * 4)
    expect(matrix).toContainEqual({
      from: 'node2',
      to: 'node1',
      network: 'pods',
      family: 4,
      state: 'small',
      isTunnelled: false,
      rttMs: expect.closeTo(0.22, 2),
    })
    expect(findings).toEqual([FINDING])
  })

  it('says where the page is', () => {
    node.agent = { '/livez': 'alive' }
    expect(node.run('nodes', '--web').stdout).toMatch(
      /^http:\/\/127\.0\.0\.1:19474\/\nFrom elsewhere, .*: ssh -L 19474:.*\n.*port-forward ds\/bowline 19474$/,
    )
    expect(node.run('nodes', '--web', '--json').json).toEqual({ url: 'http://127.0.0.1:19474/' })
  })

  it('says that there is no overlay, or no agent', () => {
    node.agent = { '/mesh': { overlay: false, findings: [] } }
    expect(node.run('nodes').stdout).toMatch(/^No overlay is configured/)
    node.agent = { '/mesh': { overlay: 'waiting', findings: [] } }
    expect(node.run('nodes').stdout).toMatch(/^The agent waits for the Node of this machine/)
    node.agent = { '/mesh': { overlay: 'waiting', findings: [FINDING] } }
    expect(node.run('nodes').stdout).toContain('✗ mesh: node node2 is away\n    ping it')
    node.agent = undefined
    for (const args of [['nodes'], ['nodes', '--web']]) {
      const { exitCode, stderr } = node.run(...args)
      expect([exitCode, stderr]).toEqual([
        1,
        expect.stringMatching(
          /:19474: it does not run on this node.*\nbowline: Install it .*see why.*: kubectl -n kube-system describe pods/,
        ),
      ])
    }
  })
})

describe('bowline doctor', () => {
  const found = (): unknown[] => {
    const { findings } = node.run('doctor', '--json').json as { findings: { check: string }[] }
    return findings.filter(({ check }) => ['agent', 'mesh', 'overlay', 'path-mtu'].includes(check))
  }

  it('has what the agent has found', () => {
    node.agent = { '/mesh': meshOf(3, [], [FINDING]) }
    const { check, level, message, hint } = FINDING
    expect(found()).toEqual([{ check, level, message, hint }])
  })

  it('misses the agent where there has been an overlay, and nowhere else', () => {
    expect(found()).toEqual([])
    node.put('/var/lib/cni/bowline-agent/cluster.json', [])
    expect(found()).toMatchObject([{ check: 'agent', level: 'error' }])
  })
})
