import { collectFaults, type Fault } from './errors.ts'

/** A stack of reverses: push one right after each change, `unwind` on failure, forget it on success. */
export class UndoStack {
  readonly #steps: Step[] = []

  push(step: () => unknown): void {
    this.#steps.push({ step, forgets: false })
  }

  /** A reverse that forgets what there is to undo: it is left out when a newer one has failed. */
  pushForgetting(step: () => unknown): void {
    this.#steps.push({ step, forgets: true })
  }

  /** Runs the reverses, newest first, each once. Returns what failed; a failure stops nothing else. */
  unwind(): Fault[] {
    const faults: Fault[] = []
    for (const { step, forgets } of this.#steps.splice(0).reverse()) {
      if (!forgets || faults.length === 0) faults.push(...collectFaults([step]))
    }
    return faults
  }
}

type Step = { readonly step: () => unknown; readonly forgets: boolean }
