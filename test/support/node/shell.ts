import type { Netns } from './sandbox.ts'

/** Ends what a script has printed; its exit code follows. */
const END = '=== exit code '

/**
 * A shell on a node, with a mount namespace of its own, that runs one script after the other until this process ends. To
 * start one for each script would take a test more time than the scripts do.
 */
export class NodeShell {
  readonly pid: number
  readonly #stdin: Bun.FileSink
  readonly #stdout: ReadableStreamDefaultReader<Uint8Array>

  constructor(network: Netns) {
    const child = Bun.spawn(
      // Exits with this process.
      ['setpriv', '--pdeathsig', 'KILL', 'nsenter', `--net=${network.path}`, ...UNSHARE, 'sh'],
      { stdin: 'pipe', stdout: 'pipe', stderr: 'inherit' },
    )
    child.unref()
    this.pid = child.pid
    this.#stdin = child.stdin
    this.#stdout = child.stdout.getReader()
  }

  /** Returns what the script prints. Throws when it fails. One at a time. */
  async run(script: string): Promise<string> {
    this.#stdin.write(`(set -e\n${script}\n) 2>&1; echo "${END}$?"\n`)
    this.#stdin.flush()
    const decoder = new TextDecoder()
    let printed = ''
    for (let end = -1; end < 0; end = printed.indexOf(END)) {
      const { value, done } = await this.#stdout.read()
      if (done) throw new Error(`the shell has ended in: ${script}`)
      printed += decoder.decode(value, { stream: true })
    }
    const [output = '', code] = printed.split(END)
    if (Number(code) !== 0) throw new Error(`${script}\nfailed: ${output}`)
    return output.trimEnd()
  }
}

const UNSHARE = ['unshare', '--mount', '--propagation', 'private']
