import { Fault } from '../../src/core/errors.ts'

/** The Fault that `work` throws. Fails if it throws nothing, or anything else. */
export function faultOf(work: () => unknown): Fault {
  try {
    work()
  } catch (error) {
    if (error instanceof Fault) return error
    throw error
  }
  throw new Error('nothing was thrown')
}

/** What `work` returns, or the Fault that it throws; any other error goes through. */
export function outcomeOf<T>(work: () => T): T | Fault {
  try {
    return work()
  } catch (error) {
    if (error instanceof Fault) return error
    throw error
  }
}
