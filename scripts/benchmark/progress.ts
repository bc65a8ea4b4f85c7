import type { Experiment } from './experiment.ts'

/** Says what runs and how long it will still take; on a terminal in one line that changes. */
export class Progress {
  readonly #isTerminal = process.stderr.isTTY === true
  readonly #planned: Experiment[]
  #startedAt = 0
  #shownAt = 0

  constructor(planned: readonly Experiment[]) {
    this.#planned = [...planned]
  }

  begin(experiment: Experiment): void {
    this.#startedAt = performance.now()
    this.#shownAt = 0
    this.#planned.splice(0, this.#planned.indexOf(experiment) + 1)
    if (!this.#isTerminal)
      this.#write(`${experiment.title}: ${experiment.rounds} rounds, ${this.#left(experiment, 0)}\n`)
  }

  /** Rounds below 0 warm up. */
  round(experiment: Experiment, round: number): void {
    if (!this.#isTerminal || performance.now() - this.#shownAt < 200) return
    this.#shownAt = performance.now()
    const which = round < 0 ? 'warms up' : `round ${round + 1} of ${experiment.rounds}`
    const done = round + experiment.warmUps
    this.#write(`\r\x1b[K${experiment.title}: ${which}, ${this.#left(experiment, done)}`)
  }

  end(): void {
    if (this.#isTerminal) this.#write('\r\x1b[K')
  }

  #left(experiment: Experiment, done: number): string {
    const all = experiment.rounds + experiment.warmUps
    const spent = (performance.now() - this.#startedAt) / 1000
    const perRound = done < 2 ? experiment.secondsPerRound : spent / done
    const later = this.#planned.reduce((sum, one) => sum + secondsOf(one), 0)
    return `${timeText(perRound * (all - done) + later)} left`
  }

  #write(text: string): void {
    process.stderr.write(text)
  }
}

export function secondsOf({ rounds, warmUps, secondsPerRound }: Experiment): number {
  return (rounds + warmUps) * secondsPerRound
}

/** `40 s`, `3 min 20 s`. */
export function timeText(seconds: number): string {
  const whole = Math.round(seconds)
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`
}
