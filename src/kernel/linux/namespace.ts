import { Code, Fault, isErrno } from '../../core/errors.ts'
import { close, statusOf } from './disk.ts'
import { enterNamespace, isNetworkNamespace, openNamespace } from './net.ts'
import { exit, writeStandardError } from './stdio.ts'

/** EX_OSERR of sysexits.h. */
const EXIT_ASTRAY = 71

export type NamespaceHandle = {
  readonly fd: number
  readonly identity: { readonly device: number; readonly inode: number }
}

/** Opens a network namespace. Throws a Fault: ENOENT if the path is missing, EINVAL if it is something else. */
export function openHandle(path: string): NamespaceHandle {
  const fd = openPath(path)
  const status = statusOf(fd)
  if (typeof status === 'number' || !isNetworkNamespace(fd)) {
    close(fd)
    throw new Fault(`${JSON.stringify(path)} is not a network namespace`, {
      code: Code.invalidNetns,
      errno: 'EINVAL',
      hint: 'Give the path of a network namespace, such as /var/run/netns/NAME or /proc/PID/ns/net.',
    })
  }
  return { fd, identity: { device: status.device, inode: Number(status.inode) } }
}

function openPath(path: string): number {
  try {
    return openNamespace(path)
  } catch (cause) {
    const missing = isErrno(cause, 'ENOENT')
    throw new Fault(
      `${missing ? 'there is no' : 'could not open the'} network namespace ${JSON.stringify(path)}`,
      {
        code: Code.invalidNetns,
        hint: 'Check that the container is still running, and that its namespace is mounted there.',
        cause,
      },
    )
  }
}

let home: NamespaceHandle | undefined

/** The namespace that the calling thread was started in. */
export function homeNamespace(): NamespaceHandle {
  home ??= openHandle('/proc/thread-self/ns/net')
  return home
}

/**
 * Runs `work` with the calling thread in another namespace. Only this function moves a thread. It is synchronous, so no
 * other code of this process runs meanwhile. If the thread cannot return, the process exits: no code may run in the wrong
 * namespace.
 */
export function within<T>(namespace: NamespaceHandle, work: () => T): T {
  const back = homeNamespace()
  enterNamespace(namespace.fd)
  try {
    return work()
  } finally {
    returnTo(back)
  }
}

function returnTo(back: NamespaceHandle): void {
  try {
    enterNamespace(back.fd)
  } catch (error) {
    writeStandardError(`bowline: cannot return to the network namespace of the host: ${String(error)}`)
    exit(EXIT_ASTRAY)
  }
}

export function closeHandle(namespace: NamespaceHandle): void {
  if (namespace !== home) close(namespace.fd)
}
