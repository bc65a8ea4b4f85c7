import { expect, it } from 'vitest'
import { runCommandLine } from '../../src/cli/command_line.ts'
import { runPlugin } from '../../src/plugin/dispatch.ts'
import { openPorts } from '../../src/plugin/ports.ts'
import { createFakeMachine } from '../fakes/machine.ts'
import { createFakeNode, L3 } from '../fakes/node.ts'

/* bowline gc beside calls of the plugin: what it has seen of the node may be old by the time that it removes something. */

/** Runs gc on a node where `meanwhile` happens after it has looked, and returns the containers that have a record then. */
function containersAfterGc(meanwhile: (add: (containerId: string) => void) => void): string[] {
  const node = createFakeNode()
  const plugins = { isExecutable: () => true, run: () => ({ exitCode: 0, stdout: '' }) }
  const ports = openPorts({ kernel: node.kernel, files: node.files, plugins })
  const netnsOf = (containerId: string) => `/run/netns/${containerId}`
  const add = (containerId: string) => {
    node.kernel.makeNetns(netnsOf(containerId))
    const netns = netnsOf(containerId)
    expect(node.call('ADD', { containerId, netns, config: L3 })).toMatchObject({ exitCode: 0 })
  }
  add('gone')
  node.kernel.removeNetns(netnsOf('gone'))
  const exitCode = runCommandLine(['gc', '--yes'], {
    files: node.files,
    plugins,
    ports,
    machine: createFakeMachine(),
    env: {},
    isInContainer: false,
    recordsDir: '/var/lib/cni/bowline',
    countAttachments: () => 0,
    readStdin: () => '',
    print: () => {},
    warn: (line) => expect.fail(line),
    getFromLoopback: () => expect.fail('gc asks nobody'),
    callPlugin({ command, config, mayRemove }) {
      meanwhile(add)
      const env = { CNI_COMMAND: command, CNI_PATH: '/opt/cni/bin' }
      const exitCode = runPlugin({
        env,
        calledAs: '',
        readStdin: () => config,
        writeStdout: (text) => expect.fail(text),
        ports,
        mayRemove,
      })
      return { exitCode, stdout: '' }
    },
  })
  expect(exitCode).toBe(0)
  return ports.store.list().map(({ containerId }) => containerId)
}

it('removes what a pod has left that is gone', () => {
  expect(containersAfterGc(() => {})).toEqual([])
})

it.each(['new', 'gone'])('leaves container %j alone, which was added after gc had looked', (name) => {
  expect(containersAfterGc((add) => add(name))).toEqual([name])
})
