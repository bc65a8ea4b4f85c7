/** A Node with a hundred images is 20 kB; etcd takes no object of more than 1.5 MB. */
const MAX_LINE = 16 << 20

/** Yields the lines of a stream of UTF-8, without line feeds. Throws an Error for a line that is longer than any object can be. */
export async function* linesOf(stream: ReadableStream<Uint8Array> | null): AsyncGenerator<string> {
  if (!stream) return
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = lines.pop() ?? ''
    if (rest.length > MAX_LINE) throw new Error(`an event of more than ${MAX_LINE} characters`)
    for (const line of lines) if (line) yield line
  }
}
