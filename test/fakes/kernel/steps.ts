import { Fault } from '../../../src/core/errors.ts'
import { Killed } from '../files.ts'

/** What a fake did or is about to do: one change, one query, one nftables transaction, one write of a sysctl. */
export type Step = {
  readonly phase: 'before' | 'after'
  /** In the words of `describeChange` and its like. */
  readonly what: string
}

/**
 * Called around each step. It may throw a Fault (the step is refused; thrown `after`, it was done all the same) or
 * `Killed` (the process is gone: this and every later call throws, until `revive`).
 */
export type StepHook = (step: Step) => void

/** Lets a test stop a fake at each of its steps. Fakes that die together share one. */
export class Steps {
  hook: StepHook | undefined
  #killed = false

  /** The next process: steps work again. */
  revive(): void {
    this.#killed = false
  }

  /** Does one step, with the hook called before and after it. */
  run<T>(what: string, work: () => T): T {
    if (this.#killed) throw new Killed(what)
    this.#notify({ phase: 'before', what })
    const result = work()
    this.#notify({ phase: 'after', what })
    return result
  }

  #notify(step: Step): void {
    try {
      this.hook?.(step)
    } catch (error) {
      if (error instanceof Killed) this.#killed = true
      throw error
    }
  }
}

/** A refusal as the kernel gives it: an errno, and sometimes a word of its own. */
export function refusal(errno: string, detail?: string): Fault {
  return new Fault(detail ? `${errno} (${detail})` : errno, { errno })
}
