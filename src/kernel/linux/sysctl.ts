import { Code, Fault } from '../../core/errors.ts'
import { sysctlCommand, sysctlName } from '../../core/shell.ts'
import { textBytes } from '../../core/text.ts'
import { close, Open, open, readKernelText, writeOnce } from './disk.ts'
import { Errno, errnoName } from './errno.ts'

const ROOT = '/proc/sys/net'

/**
 * Returns a setting of the namespace that the calling thread is in, trimmed; undefined if it is missing. Throws a
 * Fault with the errno and the key when it is there but cannot be read.
 */
export function readSysctl(key: string): string | undefined {
  const text = readKernelText(pathOf(key))
  if (typeof text === 'string') return text
  if (text === -Errno.ENOENT) return undefined
  const errno = errnoName(-text)
  throw new Fault(`read net/${key}: ${errno}`, {
    code: Code.io,
    errno,
    hint: `Let the container runtime read ${ROOT}; see whether this works: sysctl ${sysctlName(key)}`,
  })
}

/** Throws a Fault with the errno, the key and the value. */
export function writeSysctl(key: string, value: string): void {
  const fd = open(pathOf(key), Open.write)
  const written = fd < 0 ? fd : writeOnce(fd, textBytes(value), 0)
  if (fd >= 0) close(fd)
  if (written < 0) throw notWritten(`set net/${key} to ${value}`, -written, key, value)
}

/** Opens a setting for writing and writes nothing. Throws as `writeSysctl` does. */
export function probeSysctl(key: string): void {
  const fd = open(pathOf(key), Open.write)
  if (fd < 0) throw notWritten(`open net/${key} for writing`, -fd, key, 'VALUE')
  close(fd)
}

function notWritten(action: string, number: number, key: string, value: string): Fault {
  const errno = errnoName(number)
  return new Fault(`${action}: ${errno}`, {
    code: Code.io,
    errno,
    hint: `Make ${ROOT} writable for the container runtime, or set it once by hand: ${sysctlCommand([key, value])}`,
  })
}

/** A key is a path, since interface names may have dots. */
function pathOf(key: string): string {
  if (key.split('/').some((part) => part === '' || part === '.' || part === '..')) {
    throw new Fault(`${JSON.stringify(key)} is not the name of a setting`)
  }
  return `${ROOT}/${key}`
}
