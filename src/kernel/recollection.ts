/** An answer, and the questions behind it. */
export type Recollection<T> = {
  readonly value: T
  /**
   * Asks them again. Returns true if every answer is the same, but for the age of what it tells of: far cheaper than to read the answers.
   * False as well if among the questions are some for which that is not known.
   */
  isSame(): boolean
}
