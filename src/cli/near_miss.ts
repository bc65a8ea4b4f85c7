/** Returns the word that was probably meant: all but two letters of it are at its beginning and its end. */
export function nearMiss(word: string, words: readonly string[]): string | undefined {
  return words.find((one) => {
    const length = Math.min(word.length, one.length)
    let [head, tail] = [0, 0]
    while (head < length && word[head] === one[head]) head++
    while (tail < length - head && word.at(-1 - tail) === one.at(-1 - tail)) tail++
    return Math.max(word.length, one.length) - head - tail <= 2 && head + tail > 1
  })
}
