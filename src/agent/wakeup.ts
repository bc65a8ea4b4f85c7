/** How often a loop compares everything although no event has come: an event may be lost. */
export const AUDIT_MS = 30_000
/** Between two comparisons of everything. The first event of a burst is answered at once, the others together. */
export const PAUSE_MS = 10

/** Lets a loop sleep until its time or until another part of the program wakes it. */
export type Wakeup = {
  wake(): void
  /** Resolves after so many ms, or as soon as `wake` is called; at once if it was called since the last wait. */
  wait(ms: number): Promise<void>
}

export function createWakeup(): Wakeup {
  let isDue = false
  let end: (() => void) | undefined
  return {
    wake() {
      isDue = true
      end?.()
    },
    async wait(ms) {
      if (!isDue) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, ms)
          end = () => {
            clearTimeout(timer)
            resolve()
          }
        })
      }
      isDue = false
      end = undefined
    },
  }
}

/** Resolves after so many ms, or when the signal is aborted. */
export async function sleep(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return
  await new Promise<void>((resolve) => {
    const end = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, ms)
    signal.addEventListener('abort', end)
  })
}
