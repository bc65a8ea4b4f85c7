import { Code, Fault, isErrno } from '../../core/errors.ts'
import { close, statusOf } from './disk.ts'
import { closeDescriptor, enterNamespace, isNetworkNamespace, openNamespace } from './net.ts'
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
  return { fd, identity: identityOf(status.identity) }
}

/** From `major:minor:inode`. */
function identityOf(text: string): NamespaceHandle['identity'] {
  const [major = 0, minor = 0, inode = 0] = text.split(':').map(Number)
  return { device: major * 2 ** 20 + minor, inode }
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

/** The namespace that this process was started in, or more exactly the calling thread, which is what moves. */
export function homeNamespace(): NamespaceHandle {
  home ??= openHandle('/proc/thread-self/ns/net')
  return home
}

/**
 * Runs `work` with the calling thread in another namespace. The only place that moves a thread. Synchronous: nothing
 * else of this process can run meanwhile. If the way back is barred, the process ends: no line of ours may ever run
 * in the wrong namespace.
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
  if (namespace !== home) closeDescriptor(namespace.fd)
}
