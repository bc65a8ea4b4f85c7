import { collectFaults, type Fault } from './errors.ts'

/** A stack of reverses: push one right after each change, `unwind` on failure, forget it on success. */
export class UndoStack {
  readonly #steps: (() => unknown)[] = []

  push(step: () => unknown): void {
    this.#steps.push(step)
  }

  /** Runs the reverses, newest first, each once. Returns what failed; a failure stops nothing. */
  unwind(): Fault[] {
    return collectFaults(this.#steps.splice(0).reverse())
  }
}
