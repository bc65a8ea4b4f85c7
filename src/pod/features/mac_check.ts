import { equals } from '../../kernel/nftables/expressions/match.ts'
import { etherSaddr } from '../../kernel/nftables/expressions/payload.ts'
import { back, drop } from '../../kernel/nftables/expressions/verdicts.ts'
import type { NodePorts, PodFeature } from './feature.ts'
import { checkPorts, type PortCheck } from './port_check.ts'

/** ARP and neighbour discovery are frames as all others are. */
export const MAC_CHECK: PortCheck = {
  key: 'macspoofchk',
  // As the reference plugin has it: before any other chain that could accept or change the frame.
  base: { name: 'prerouting', priority: -300 },
  prefixes: ['mac-'],
  rules: ({ podMac }) => [[[equals(etherSaddr, podMac), back], [drop]]],
  words: {
    action: 'check the hardware address of what the pod sends',
    all: 'checks of hardware addresses',
    base: 'the rule that checks MACs is missing in table bridge bowline',
  },
  isKnown: () => true,
  unchecked: ({ podMac }) => `the MAC ${podMac} is not checked`,
}

/** Drops what a pod on a bridge sends with another hardware address than its own. */
export function macCheck(node: NodePorts): PodFeature {
  return checkPorts(MAC_CHECK, node)
}
