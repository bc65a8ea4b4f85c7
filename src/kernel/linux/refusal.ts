import { Code, Fault } from '../../core/errors.ts'
import type { Ack } from '../netlink/message.ts'
import { errnoName } from './errno.ts'

/** Returns the fault for what rtnetlink has refused. */
export function refusal({ errno, text }: Ack, action: string): Fault {
  const name = errnoName(errno)
  return new Fault(`${action}: ${name}${text ? ` (${text})` : ''}`, {
    errno: name,
    code: PASSING.includes(name) ? Code.tryLater : undefined,
    hint: text?.startsWith(VNI_IN_USE) ? VNI_HINT : HINTS[name],
  })
}

/** Nothing is wrong with the request: the same one may succeed later. */
const PASSING = ['EAGAIN', 'EINTR', 'ENOBUFS', 'ENOMEM']

/** The link may be one that was moved to another namespace after its creation: its tunnel stays behind. */
const VNI_IN_USE = 'A VXLAN device with the specified VNI already exists'
const VNI_HINT =
  'Find the link with the same VNI and port, and delete it: ip -d link show type vxlan; ip -all netns exec ip -d link show type vxlan'

const HINTS: Record<string, string> = {
  EPERM: 'Run as root with CAP_NET_ADMIN and CAP_SYS_ADMIN.',
  EOPNOTSUPP:
    'Load the kernel module for this (veth, bridge, 8021q, vxlan, ifb), or use a kernel that has it.',
}
