import type { PluginAnswer, PluginCall } from '../../src/cli/command.ts'
import { runCommandLine } from '../../src/cli/command_line.ts'
import type { PluginRunner } from '../../src/cni/delegate.ts'
import { Fault } from '../../src/core/errors.ts'
import { openPorts } from '../../src/plugin/ports.ts'
import { createFakeFiles, type FakeFiles } from './files.ts'
import { createFakeKernel } from './kernel.ts'
import { createFakeMachine } from './machine.ts'

/** A node whose command line can be used: the real commands on a fake disk, with a plugin whose answers are given. */
export type FakeCommandLine = {
  readonly files: FakeFiles
  /** The calls of the plugin so far. */
  readonly calls: PluginCall[]
  /** What the plugin answers; at first that all is well. */
  answer: PluginAnswer
  /** How many pods are attached. */
  attachments: number
  stdin: string
  /** What bowline-agent answers, by path; undefined: it does not run. */
  agent: Readonly<Record<string, unknown>> | undefined
  run(...args: string[]): { exitCode: number; stdout: string; stderr: string; json: Record<string, unknown> }
  /** Puts a file there, with its directories. */
  put(path: string, content: unknown, mode?: number): void
  /** A file as JSON, or undefined. */
  get(path: string): unknown
}

export function createFakeCommandLine(program = 'the program'): FakeCommandLine {
  const files = createFakeFiles()
  const put = (path: string, content: unknown, mode = 0o644) => {
    files.ensureDirectory(path.slice(0, path.lastIndexOf('/')))
    const text = typeof content === 'string' ? content : JSON.stringify(content)
    files.publish(path, new TextEncoder().encode(text), mode)
  }
  put('/proc/self/exe', program.padEnd(32), 0o755)
  const node: FakeCommandLine = {
    files,
    calls: [],
    answer: { exitCode: 0, stdout: '' },
    attachments: 0,
    stdin: '',
    agent: undefined,
    put,
    get(path) {
      const text = files.readForeign(path)
      return text === undefined ? undefined : JSON.parse(text)
    },
    run(...args) {
      const [out, err]: [string[], string[]] = [[], []]
      const plugins: PluginRunner = {
        isExecutable: (path) => ((files.modeOf(path) ?? 0) & 0o111) !== 0,
        run: () => ({ exitCode: 0, stdout: '' }),
      }
      const exitCode = runCommandLine(args, {
        files,
        plugins,
        ports: openPorts({ kernel: createFakeKernel(), files, plugins }),
        machine: createFakeMachine(),
        env: {},
        isInContainer: false,
        recordsDir: '/var/lib/cni/bowline',
        countAttachments: () => node.attachments,
        readStdin: () => node.stdin,
        print: (line) => out.push(line),
        warn: (line) => err.push(line),
        getFromLoopback(_, path) {
          if (!node.agent) throw new Fault('connect: ECONNREFUSED', { errno: 'ECONNREFUSED' })
          return JSON.stringify(node.agent[path])
        },
        callPlugin(call) {
          node.calls.push(call)
          return node.answer
        },
      })
      const stdout = out.join('\n')
      return {
        exitCode,
        stdout,
        stderr: err.join('\n'),
        get json() {
          return JSON.parse(stdout) as Record<string, unknown>
        },
      }
    },
  }
  return node
}
