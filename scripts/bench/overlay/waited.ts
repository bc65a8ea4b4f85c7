const TIMEOUT_MS = 40_000

/** Returns after how many ms it holds. */
export async function waited(check: () => boolean): Promise<number> {
  const begun = performance.now()
  while (!check()) {
    if (performance.now() - begun > TIMEOUT_MS) throw new Error(`not after ${TIMEOUT_MS} ms`)
    await Bun.sleep(1)
  }
  return performance.now() - begun
}
