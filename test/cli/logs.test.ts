import { describe, expect, it } from 'vitest'
import { formatLogLine } from '../../src/cli/logs.ts'
import { createFakeCommandLine } from '../fakes/command.ts'

const LINE = {
  level: 30,
  time: Date.UTC(2026, 0, 2, 3, 4, 5, 6),
  pid: 7,
  hostname: 'node',
  command: 'ADD',
  network: 'lab',
  container: '0123456789abcdef',
  ifName: 'eth0',
  ms: 4.217,
  outcome: 'ok',
  msg: 'ADD ok',
}
const plain = (_: string, text: string) => text

describe('a line of the log, for people', () => {
  it.each([
    ['has the container', {}, '03:04:05.006   4.22 ms  ADD    ok  lab  0123456789ab  eth0'],
    [
      'has the pod if its name is known',
      { namespace: 'shop', pod: 'web-1' },
      '03:04:05.006   4.22 ms  ADD    ok  lab  shop/web-1  eth0',
    ],
    [
      'has the error and what to do below it',
      { level: 50, code: 11, err: 'busy', hint: 'Try again.' },
      '03:04:05.006   4.22 ms  ADD    failed (11)  lab  0123456789ab  eth0\n              busy\n              Try again.',
    ],
    [
      'has no code where none is known',
      { level: 50, err: 'busy' },
      '03:04:05.006   4.22 ms  ADD    failed  lab  0123456789ab  eth0\n              busy',
    ],
    [
      'of one request to the kernel is its words',
      { level: 10, msg: 'host: links' },
      '03:04:05.006     4.22 ms  host: links',
    ],
  ])('%s', (_, more, text) => {
    expect(formatLogLine(JSON.stringify({ ...LINE, ...more }), plain)).toBe(text)
  })

  it.each(['', 'Jan 1 something else', '{"msg":1}', 'null'])(
    'is %j as it is if nothing else is known',
    (text) => {
      expect(formatLogLine(text, plain)).toBe(text)
    },
  )
})

describe('bowline logs', () => {
  it('finds the log by the configuration, and shows its end', () => {
    const node = createFakeCommandLine()
    node.put('/etc/cni/net.d/10-bowline.conflist', {
      cniVersion: '1.0.0',
      name: 'lab',
      plugins: [{ type: 'bowline', logFile: '/var/log/b.log' }],
    })
    const lines = ['a', 'b', 'c'].map((pod) => JSON.stringify({ ...LINE, pod, namespace: 'x' }))
    node.put('/var/log/b.log.1', `${lines[0]}\n`)
    node.put('/var/log/b.log', `${lines[1]}\n${lines[2]}\n`)
    expect(node.run('logs').stdout.match(/x\/\w/g)).toEqual(['x/a', 'x/b', 'x/c'])
    expect(node.run('logs', '--json', '-n', '1').stdout).toBe(lines[2])
  })

  it('says which key is missing', () => {
    expect(createFakeCommandLine().run('logs')).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining('Add "logFile": "/var/log/bowline.log"'),
    })
  })
})
