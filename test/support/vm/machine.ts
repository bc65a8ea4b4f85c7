import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execaSync } from 'execa'
import { afterAll, afterEach, beforeAll } from 'vitest'
import { AMD64, type Architecture } from './architecture.ts'
import { type MoreFiles, writeGuestImage } from './image.ts'
import { findGuestKernel, type GuestKernel } from './kernel_modules.ts'
import { assertQemu, type GuestAnswer, VmProcess } from './process.ts'

/*
 * A virtual machine with the distribution's own kernel, emulated by QEMU without any help of the processor, so that it
 * runs wherever the tests run. Tests stay on this side and have scripts run in it. It has no network but what is made
 * inside, and everything but its disk is in its memory.
 */

/** Some seconds on an idle machine. These bound the wait; nothing is measured. */
const BOOT_TIMEOUT_MS = 180_000
const RUN_TIMEOUT_MS = 120_000
/** For the answer to a script that was killed at its own limit. */
const GRACE_MS = 30_000

/** A disk that outlives the machine: ext4, mounted on /var/lib. */
export type Disk = { readonly path: string }

export type Vm = {
  /** The release of its kernel, such as `6.1.0-56-amd64`. */
  readonly release: string
  /** Runs a script of bash; those that are asked for meanwhile wait. Exit code 137 is that of a script that was killed after `timeoutMs`. */
  run(script: string, options?: { timeoutMs?: number }): Promise<GuestAnswer>
  /** The same for a script that must succeed: its standard output. Throws with its standard error. */
  sh(script: string, options?: { timeoutMs?: number }): Promise<string>
  /**
   * Ends QEMU by SIGKILL. What the machine had not yet sent to its disk is lost, as when the power fails. What it had
   * sent is kept in every cache mode, since this machine goes on.
   */
  powerCut(): Promise<void>
  /** `reboot -f`: everything reaches the disk. The promise is fulfilled when the machine is down. */
  shutDown(): Promise<void>
}

export type VmHost = {
  /** `parameters` are for the kernel, such as `ipv6.disable=1`. */
  boot(options?: { disk?: Disk; mountOptions?: string; parameters?: readonly string[] }): Promise<Vm>
  /** An empty disk. */
  createDisk(): Disk
}

/**
 * Prepares virtual machines for a test file; call it at the top level or in a `describe`. After the last test all are ended and
 * their files removed. After a test that failed, the end of the console of the last machine is printed.
 */
export function useVms({
  architecture = AMD64,
  more = {},
}: {
  architecture?: Architecture
  more?: MoreFiles
} = {}): VmHost {
  const machines: VmProcess[] = []
  let work = ''
  let image = ''
  let kernel: GuestKernel
  beforeAll(() => {
    assertQemu(architecture)
    kernel = findGuestKernel(architecture.debian)
    work = mkdtempSync(join(tmpdir(), 'bowline-vm-'))
    image = writeGuestImage(work, architecture, kernel, more)
  })
  afterEach(({ task }) => {
    if (task.result?.state === 'fail') console.log(machines.at(-1)?.consoleEnd())
  })
  afterAll(async () => {
    for (const machine of machines) await machine.kill()
    rmSync(work, { recursive: true, force: true })
  })
  return {
    boot({ disk, mountOptions, parameters = [] } = {}) {
      const console = `${work}/console-${machines.length}`
      const optional = { ...(disk && { disk: disk.path }), ...(mountOptions && { mountOptions }), parameters }
      const machine = new VmProcess({ architecture, kernel: kernel.image, image, console, ...optional })
      machines.push(machine)
      return untilReady(machine)
    },
    createDisk() {
      const path = join(mkdtempSync(`${work}/disk-`), 'state')
      execaSync('mke2fs', ['-q', '-t', 'ext4', path, '128M'])
      return { path }
    },
  }
}

async function untilReady(machine: VmProcess): Promise<Vm> {
  const { stdout } = await machine.answer(BOOT_TIMEOUT_MS)
  let before: Promise<unknown> = Promise.resolve()
  const run: Vm['run'] = (script, { timeoutMs = RUN_TIMEOUT_MS } = {}) => {
    const answer = before.then(() => {
      machine.ask(script, timeoutMs)
      return machine.answer(timeoutMs + GRACE_MS)
    })
    before = answer.catch(() => {})
    return answer
  }
  return {
    release: stdout.trim(),
    run,
    async sh(script, options) {
      const { exitCode, stdout, stderr } = await run(script, options)
      if (exitCode === 0) return stdout
      throw new Error(`exit code ${exitCode} in the virtual machine\n${script}\n${stdout}\n${stderr}`)
    },
    powerCut: () => machine.kill(),
    async shutDown() {
      machine.ask('reboot -f', RUN_TIMEOUT_MS)
      await machine.ended(RUN_TIMEOUT_MS)
    },
  }
}
