import { Fault } from '../../../src/core/errors.ts'
import { Killed } from '../files.ts'

/** What a fake did or is about to do: one change, one query, one nftables transaction, one write of a sysctl. */
export type Step = {
  /** Counts from 1 since the fake was made; the same for `before` and `after`. */
  readonly seq: number
  readonly phase: 'before' | 'after'
  readonly kind: 'open' | 'change' | 'query' | 'sysctl' | 'nft' | 'close' | 'plugin'
  /** In the words of `describeChange` and its like. */
  readonly what: string
}

/**
 * Called around each step. It may throw a Fault (the step is refused; thrown `after`, it was done all the same) or
 * `Killed` (the process is gone: this and every later call throws, until `revive`).
 */
export type StepHook = (step: Step) => void

/** Numbers the steps of a fake and lets a test stop at each. Fakes that die together share one. */
export class Steps {
  hook: StepHook | undefined
  #count = 0
  #killed = false

  /** How many steps were begun so far. */
  get count(): number {
    return this.#count
  }

  get killed(): boolean {
    return this.#killed
  }

  /** The next process: steps work again. The numbers go on. */
  revive(): void {
    this.#killed = false
  }

  /** Does one step, with the hook called before and after it. */
  run<T>(kind: Step['kind'], what: string, work: () => T): T {
    if (this.#killed) throw new Killed(what)
    const seq = ++this.#count
    this.#notify({ seq, phase: 'before', kind, what })
    const result = work()
    this.#notify({ seq, phase: 'after', kind, what })
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
