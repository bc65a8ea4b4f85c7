import { isErrno } from '../../core/errors.ts'
import type { CommandContext } from '../command.ts'
import { agentHint, agentPort, askForMesh } from '../mesh_view.ts'
import { error, type Finding } from './finding.ts'

/** Where the agent of a node with an overlay keeps the last known cluster. */
const CLUSTER_FILE = '/var/lib/cni/bowline-agent/cluster.json'

/** Returns what the agent of this node has found wrong with the overlay. A node without an agent and without an overlay has nothing. */
export function checkMesh(context: CommandContext): Finding[] {
  try {
    return askForMesh(context).findings.map(({ check, level, message, hint }) => ({
      check,
      level,
      message,
      hint,
    }))
  } catch (fault) {
    if (!isErrno(fault, 'ECONNREFUSED')) throw fault
    if (context.files.modeOf(CLUSTER_FILE) === undefined) return []
    const message = `bowline-agent does not answer at 127.0.0.1:${agentPort(context)}: what changes in the cluster is not followed on this node`
    return [error('agent', message, agentHint(context))]
  }
}
