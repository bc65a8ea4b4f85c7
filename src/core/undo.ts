import { collectFaults, Fault } from './errors.ts'

/** A stack of undo steps: push one right after each change, `unwind` on failure, drop the stack on success. */
export class UndoStack {
  readonly #steps: Step[] = []

  push(step: () => unknown): void {
    this.#steps.push({ step, forgets: false })
  }

  /** Pushes a step that deletes the record of what there is to undo. It is skipped if a newer step has failed. */
  pushForgetting(step: () => unknown): void {
    this.#steps.push({ step, forgets: true })
  }

  /** Runs the steps once, newest first, and returns their errors. A failure does not stop the other steps. */
  unwind(): Fault[] {
    const faults: Fault[] = []
    for (const { step, forgets } of this.#steps.splice(0).reverse()) {
      if (!forgets || faults.length === 0) faults.push(...collectFaults([step]))
    }
    return faults
  }
}

/** Returns the error of an undone action. A rollback that failed in part says so: its caller must know what was left. */
export function withUnwound(error: unknown, faults: readonly Fault[]): unknown {
  if (faults.length === 0) return error
  const inner = error instanceof Error ? error.message : String(error)
  const left = faults.map(({ message }) => message).join('; ')
  return new Fault(`${inner} (and the rollback failed in part: ${left})`, { cause: error })
}

type Step = { readonly step: () => unknown; readonly forgets: boolean }
