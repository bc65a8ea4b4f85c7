/** Waits until `check` holds; fails after ten seconds, which is only the bound of a test that has failed. */
export async function until(what: string, check: () => boolean): Promise<void> {
  for (let round = 0; round < 1000; round++) {
    if (check()) return
    await Bun.sleep(10)
  }
  throw new Error(`waited in vain for: ${what}`)
}
