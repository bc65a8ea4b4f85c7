import { Code, Fault } from '../core/errors.ts'
import type { Netns } from '../kernel/kernel.ts'
import type { Ports } from './ports.ts'
import type { Request } from './request.ts'

/** Runs `work` in sight of the pod's namespace. Refuses our own: the pod's interface would land on the host. */
export function withPodNetns<T>({ invocation }: Request, ports: Ports, work: (netns: Netns) => T): T {
  const { netns: path, netnsOverride } = invocation
  const netns = ports.kernel.openNetns(path)
  try {
    if (!netnsOverride && isOwnNamespace(ports, netns)) throw refuseOwn(path)
    return work(netns)
  } finally {
    netns.close()
  }
}

/** Whether it is the namespace that this process runs in. */
export function isOwnNamespace(ports: Ports, { identity }: Netns): boolean {
  const { device, inode } = ports.kernel.host().identity
  return identity.device === device && identity.inode === inode
}

function refuseOwn(path: string): Fault {
  return new Fault(`CNI_NETNS ${JSON.stringify(path)} is the namespace that this plugin runs in`, {
    code: Code.invalidNetns,
    hint: 'Give the path of the container’s network namespace, such as /var/run/netns/NAME.',
  })
}
