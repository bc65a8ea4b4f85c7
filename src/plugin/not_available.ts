import { Code, Fault } from '../core/errors.ts'

/** Runs `work`. An error gets code 50 (not available), unless it has code 51 already or says that the call is not understood. */
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
