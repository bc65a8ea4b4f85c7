import type { AttachmentRecord } from '../attachment/record.ts'
import { isErrno } from '../core/errors.ts'
import type { CommandContext } from './command.ts'
import type { NodeView } from './node_view.ts'

/*
 * The agent runs commands in its container, which shows only what is mounted there: a namespace that it does not show is not gone. Its
 * /proc has the processes of the container alone, and may show another boot id than the node's (LXC gives each of its containers one).
 */

/** Returns the view without what cannot be judged from here: an attachment of it counts as one whose pod lives. */
export function judgeable(view: NodeView, context: CommandContext): NodeView {
  if (!context.isInContainer) return view
  // Where it is not mounted this throws, also on a node that has nothing to judge: it should be known before it matters.
  context.ports.kernel.bootId()
  return {
    ...view,
    // A record that cannot be read does not say where its pod is.
    damaged: [],
    attachments: view.attachments.map((one) => {
      if (one.stale === undefined || isJudgeable(one.record, context)) return one
      const { record, link, drift } = one
      return { record, link, drift }
    }),
  }
}

/** Returns whether it can be seen from here that the pod of a record is gone. */
export function isJudgeable(record: AttachmentRecord, context: CommandContext): boolean {
  if (!context.isInContainer || record.bootId !== context.ports.kernel.bootId()) return true
  return record.netns !== undefined && isShown(record.netns.path, context)
}

/**
 * Returns whether the container shows what there is at this path on the node. A directory that is not there may be one that is not
 * mounted; a file that is no namespace is what a mount without propagation shows of a namespace that was made later.
 */
function isShown(path: string, { ports, files }: CommandContext): boolean {
  if (/^\/+proc\//.test(path)) return false
  try {
    ports.kernel.openNetns(path).close()
    return true
  } catch (error) {
    const directory = path.replace(/\/+[^/]*$/, '')
    return isErrno(error, 'ENOENT') && files.modeOf(directory) !== undefined
  }
}
