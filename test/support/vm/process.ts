import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import type { Architecture } from './architecture.ts'

/** What QEMU is to run. */
export type VmFiles = {
  readonly architecture: Architecture
  readonly kernel: string
  readonly image: string
  /** The file that the console is written to. */
  readonly console: string
  readonly disk?: string
  /** Of the disk, such as `commit=1`. */
  readonly mountOptions?: string
  /** For the kernel. */
  readonly parameters?: readonly string[]
}

export type GuestAnswer = { readonly exitCode: number; readonly stdout: string; readonly stderr: string }

const CONSOLE_LINES = 40
/** The header of an answer is shorter. */
const MAX_HEADER_BYTES = 100

/** Throws an Error that says how to get QEMU when it is not there. */
export function assertQemu({ qemu, qemuPackage }: Architecture): void {
  if (Bun.which(qemu)) return
  throw new Error(`there is no ${qemu}: run scripts/setup test, or install the package ${qemuPackage}`)
}

/** A running QEMU, and the conversation with the machine's first process (test/support/vm/guest/init). */
export class VmProcess {
  readonly #console: string
  readonly #qemu: ChildProcessWithoutNullStreams
  readonly #ended: Promise<void>
  #hasEnded = false
  #received = Buffer.alloc(0)
  #wake = () => {}

  constructor(files: VmFiles) {
    this.#console = files.console
    // It ends with this process, whichever way this process ends.
    this.#qemu = spawn('setpriv', ['--pdeathsig', 'KILL', files.architecture.qemu, ...argumentsOf(files)])
    this.#qemu.stdout.on('data', (bytes: Buffer) => {
      this.#received = Buffer.concat([this.#received, bytes])
      this.#wake()
    })
    this.#qemu.stderr.on('data', (bytes: Buffer) => process.stderr.write(bytes))
    // The end is seen by `ended`; a write to a machine that has just gone down must not end the tests.
    this.#qemu.stdin.on('error', () => {})
    this.#ended = new Promise((resolve) => {
      this.#qemu.on('close', () => {
        this.#hasEnded = true
        this.#wake()
        resolve()
      })
    })
  }

  ask(script: string, timeoutMs: number): void {
    const bytes = Buffer.from(script)
    this.#qemu.stdin.write(`${Math.ceil(timeoutMs / 1000)} ${bytes.length}\n`)
    this.#qemu.stdin.write(bytes)
  }

  /** The next answer. Throws when there is none in time, and when the machine goes down. */
  async answer(timeoutMs: number): Promise<GuestAnswer> {
    await this.#until(timeoutMs, () => this.#hasEnded || parseAnswer(this.#received) !== undefined)
    const parsed = parseAnswer(this.#received)
    if (!parsed) throw new Error(`the virtual machine has gone down\n${this.consoleEnd()}`)
    this.#received = parsed.rest
    return parsed.answer
  }

  async ended(timeoutMs: number): Promise<void> {
    await this.#until(timeoutMs, () => this.#hasEnded)
  }

  async kill(): Promise<void> {
    this.#qemu.kill('SIGKILL')
    await this.#ended
  }

  /** The last lines of the console, for whoever looks for the cause of a failure. */
  consoleEnd(): string {
    if (!existsSync(this.#console)) return 'the virtual machine has not come as far as to a console'
    const lines = readFileSync(this.#console, 'utf8').trimEnd().split(/\r*\n/)
    return ['the end of the console of the virtual machine:', ...lines.slice(-CONSOLE_LINES)].join('\n  | ')
  }

  /** A machine that is late is ended: nothing more can be learnt from it. */
  async #until(timeoutMs: number, isSo: () => boolean): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<'in time' | 'late'>()
    const timer = setTimeout(() => resolve('late'), timeoutMs)
    this.#wake = () => isSo() && resolve('in time')
    this.#wake()
    const outcome = await promise
    this.#wake = () => {}
    clearTimeout(timer)
    if (outcome === 'in time') return
    await this.kill()
    throw new Error(`nothing from the virtual machine for ${timeoutMs / 1000} s\n${this.consoleEnd()}`)
  }
}

/** The virtual serial port is QEMU's own standard input and output. */
function argumentsOf(files: VmFiles): string[] {
  const { architecture, kernel, image, console, disk, mountOptions } = files
  const parameters = [
    ...['quiet', 'loglevel=5', 'panic=-1', ...architecture.parameters],
    ...(mountOptions ? [`disk=${mountOptions}`] : []),
    ...(files.parameters ?? []),
  ]
  return [
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-accel', 'tcg', ...architecture.machine, '-smp', '2', '-m', '1536'],
    ...['-kernel', kernel, '-initrd', image, '-append', parameters.join(' ')],
    ...['-serial', `file:${console}`, '-chardev', 'stdio,id=agent'],
    ...['-device', 'virtio-serial-pci', '-device', 'virtserialport,chardev=agent'],
    ...(disk ? ['-drive', `file=${disk},if=virtio,format=raw,cache=writeback`] : []),
  ]
}

/** `EXIT_CODE LENGTH LENGTH`, a line end, standard output, standard error. Undefined until all of it has come. */
function parseAnswer(received: Buffer): { answer: GuestAnswer; rest: Buffer<ArrayBuffer> } | undefined {
  const header = /^(\d+) (\d+) (\d+)\n/.exec(received.toString('latin1', 0, MAX_HEADER_BYTES))
  if (!header) return undefined
  const start = header[0].length
  const middle = start + Number(header[2])
  const end = middle + Number(header[3])
  if (received.length < end) return undefined
  return {
    answer: {
      exitCode: Number(header[1]),
      stdout: received.toString('utf8', start, middle),
      stderr: received.toString('utf8', middle, end),
    },
    rest: Buffer.from(received.subarray(end)),
  }
}
