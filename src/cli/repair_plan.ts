import type { AttachmentRecord } from '../attachment/record.ts'
import type { NetworkConfig } from '../cni/config.ts'
import { distinct } from '../core/text.ts'
import { type Difference, nftCommand, type Step } from '../state/explain.ts'
import { counted, type Paint } from './screen.ts'

/** What is wrong with one attachment; `unknown` says why nothing is known of it. */
export type Case = {
  readonly record: AttachmentRecord
  readonly pod: string
  readonly config?: NetworkConfig
  readonly found: readonly Difference[]
  readonly unknown?: string
}

/** Reports whether the engine can mend it; else only a person may, or only a new pod helps. */
export function isDoable({ steps }: Difference): boolean {
  return steps.length > 0 && steps.every(({ action }) => action)
}

/** Returns for people what is wrong, each once with all its commands. A transaction of nftables is counted: it fills screens. */
export function planText(
  broken: readonly Case[],
  unjudged: readonly Case[],
  total: number,
  paint: Paint,
): string {
  const lines = broken.flatMap(({ pod, record, found }) => [
    `${paint('bold', pod)} ${record.ifName} on ${record.network}:`,
    ...merged(found).flatMap((one) => [
      `  ${paint('red', '✗')} ${one.what}`,
      ...(one.steps.length === 0
        ? ['      only a new pod helps']
        : one.steps.map((step) => stepLine(step, paint))),
      ...(one.steps.length > 0 && !isDoable(one) ? ['      (left to you: it is not Bowline’s)'] : []),
    ]),
  ])
  const unknown = unjudged.map(
    ({ pod, unknown }) => `${paint('yellow', '?')} ${pod} cannot be judged: ${unknown}`,
  )
  const fine = total - broken.length - unjudged.length
  const all =
    broken.length === 0 && (fine > 0 || total === 0)
      ? [`${paint('green', '✓')} ${counted(fine, 'attachment')} as ADD left ${fine === 1 ? 'it' : 'them'}`]
      : []
  return [...lines, ...unknown, ...all].join('\n')
}

/** Returns the lines of a shell script that mends all, in the order of mending: what is not ours, a person has to decide on. */
export function scriptOf(broken: readonly Case[]): string[] {
  return broken.flatMap(({ pod, record, found }) =>
    found.flatMap((one) => [
      `# ${pod} ${record.ifName} on ${record.network}: ${one.what.replaceAll('\n', ' ')}`,
      ...(one.steps.length === 0 ? ['# only a new pod helps'] : []),
      ...one.steps.map((step) => (isDoable(one) ? scriptLine(step) : `# left to you: ${step.command}`)),
    ]),
  )
}

/** Joins what has the same words, such as one element for each family. */
function merged(found: readonly Difference[]): Difference[] {
  return distinct(found, ({ what }) => what).map(({ what }) => ({
    what,
    steps: found.filter((one) => one.what === what).flatMap(({ steps }) => steps),
  }))
}

function stepLine({ command, action }: Step, paint: Paint): string {
  const count = action && 'nft' in action ? action.nft.length : 1
  return `      ${count > 1 ? `(${count} commands of nft: bowline repair --commands)` : paint('cyan', command)}`
}

function scriptLine({ command, action }: Step): string {
  return action && 'nft' in action ? nftCommand(action.nft, '\n') : command
}
