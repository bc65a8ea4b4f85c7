import { Code, Fault } from '../core/errors.ts'
import type { Kernel, Netns } from '../kernel/kernel.ts'
import type { Request } from './request.ts'

/** Runs `work` with the pod's namespace. Refuses our own: the pod's interface would land on the host. */
export function withPodNetns<T>({ invocation }: Request, kernel: Kernel, work: (netns: Netns) => T): T {
  const { netns: path, netnsOverride } = invocation
  const netns = kernel.openNetns(path)
  try {
    if (!netnsOverride && isOwnNamespace(kernel, netns)) throw refuseOwn(path)
    return work(netns)
  } finally {
    netns.close()
  }
}

/** Returns whether it is the namespace that this process runs in. */
function isOwnNamespace(kernel: Kernel, { identity }: Netns): boolean {
  const { device, inode } = kernel.host().identity
  return identity.device === device && identity.inode === inode
}

function refuseOwn(path: string): Fault {
  return new Fault(`CNI_NETNS ${JSON.stringify(path)} is the namespace that this plugin runs in`, {
    code: Code.invalidNetns,
    hint: 'Give the path of the container’s network namespace, such as /var/run/netns/NAME.',
  })
}
