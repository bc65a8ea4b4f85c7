import { Code, Fault, isErrno } from '../core/errors.ts'
import { parseJson } from '../core/json.ts'
import { AGENT_PORT, type MeshView, type NoMesh } from '../overlay/mesh/view.ts'
import type { CommandContext } from './command.ts'

export function agentPort({ env }: Pick<CommandContext, 'env'>): number {
  return Number(env['BOWLINE_AGENT_PORT'] ?? AGENT_PORT)
}

/** Asks the agent of this node for the mesh. Throws a Fault if it does not answer. */
export function askForMesh(context: CommandContext): MeshView | NoMesh {
  const view = parseJson(askAgent(context, '/mesh')) as MeshView | NoMesh | undefined
  if (view === undefined)
    throw new Fault('bowline-agent has answered, but not with a mesh', { hint: LOG_HINT })
  return view
}

/** Asks the agent of this node. Throws a Fault with the command that leads further if it does not answer. */
export function askAgent(context: CommandContext, path: string): string {
  const port = agentPort(context)
  try {
    return context.getFromLoopback(port, path)
  } catch (error) {
    if (!isErrno(error, 'ECONNREFUSED')) throw error
    throw new Fault(
      `bowline-agent does not answer at 127.0.0.1:${port}: it does not run on this node, or not yet`,
      {
        code: Code.tryLater,
        hint: `Install it (kubectl apply -f conf/bowline.yaml); where it should run, see why it does not: ${agentHint(context)}`,
        cause: error,
      },
    )
  }
}

/** The command that shows what the agents have to say. */
export const LOG_HINT = 'kubectl -n kube-system logs ds/bowline'

/** Returns the command that shows why the agent of this node does not run. */
export function agentHint({ machine }: Pick<CommandContext, 'machine'>): string {
  return `kubectl -n kube-system describe pods -l k8s-app=bowline --field-selector spec.nodeName=${machine.hostname()}`
}
