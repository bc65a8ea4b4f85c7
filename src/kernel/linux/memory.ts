import { comparableJson } from '../../core/json.ts'
import type { Recollection } from '../recollection.ts'

/** Collects, while answers are remembered, a check for each question: whether the answer is the same still. */
export class Memory {
  #checks: (() => boolean)[] | undefined

  remember<T>(ask: () => T): Recollection<T> {
    const checks: (() => boolean)[] = []
    this.#checks = checks
    try {
      return { value: ask(), isSame: () => checks.every((check) => check()) }
    } finally {
      this.#checks = undefined
    }
  }

  /** Returns what is asked, and notes to compare it. */
  asked<T>(ask: () => T): T {
    const answer = ask()
    this.note(() => {
      const before = comparableJson(answer)
      return () => comparableJson(ask()) === before
    })
    return answer
  }

  /** Notes a question that is not asked again: what is remembered counts as another answer. */
  giveUp(): void {
    this.note(() => () => false)
  }

  /** `prepare` returns the check. Outside of `remember` it costs nothing. */
  note(prepare: () => () => boolean): void {
    this.#checks?.push(prepare())
  }
}
