import { Code, Fault } from '../core/errors.ts'

/** Runs `work`; of what it throws the code is 50 unless it says 51, or that it could not understand the question. */
export function asNotAvailable<T>(work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (!(error instanceof Fault) || ANSWERS.includes(error.code)) throw error
    throw new Fault(error.message, { code: Code.notAvailable, cause: error })
  }
}

const ANSWERS: readonly number[] = [
  Code.notAvailable,
  Code.limitedConnectivity,
  Code.incompatibleVersion,
  Code.decode,
]
