import { Fault, isErrno } from '../../core/errors.ts'
import type { Kernel } from '../kernel.ts'
import { readKernelText, sleepMicroseconds } from './disk.ts'
import { homeNamespace, openHandle } from './namespace.ts'
import { LinuxNetns } from './netns.ts'
import { LinuxNftables } from './nft.ts'
import { LinuxTraffic } from './traffic.ts'
import { legacyChains } from './xtables.ts'

const BOOT_ID = '/proc/sys/kernel/random/boot_id'

type KernelOptions = {
  readonly isContainer?: boolean
  /** Where the boot id of the node is, if /proc shows another one. */
  readonly bootIdFile?: string | undefined
}

/**
 * The real kernel. Nothing is opened before it is needed: a call that fails early costs nothing. In a container /proc/sys is read-only
 * whatever the container runtime itself can write, so there it is no answer that a setting cannot be written.
 */
export function createLinuxKernel({ isContainer = false, bootIdFile = BOOT_ID }: KernelOptions = {}): Kernel {
  const nftables = new LinuxNftables()
  let host: LinuxNetns | undefined
  let bootId: string | undefined
  return {
    host() {
      host ??= new (isContainer ? ContainerNetns : LinuxNetns)(homeNamespace(), true)
      return host
    },
    openNetns: (path) => new LinuxNetns(openHandle(path), false),
    nftables,
    traffic: new LinuxTraffic(),
    pause: (ms) => sleepMicroseconds(ms * 1000),
    firewall: () => [...nftables.chains(), ...legacyChains()],
    bootId() {
      bootId ??= readBootId(bootIdFile)
      return bootId
    },
  }
}

class ContainerNetns extends LinuxNetns {
  override probeSysctl(key: string): void {
    try {
      super.probeSysctl(key)
    } catch (error) {
      if (!isErrno(error, 'EROFS')) throw error
    }
  }
}

function readBootId(file: string): string {
  const text = readKernelText(file)
  if (typeof text === 'string' && text !== '') return text
  throw new Fault(`${file} could not be read`, {
    hint: file === BOOT_ID ? 'Mount /proc for the container runtime.' : 'Mount it as conf/bowline.yaml does.',
  })
}
