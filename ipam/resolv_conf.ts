/** Name resolution, as in a CNI result. */
export type ResolvConf = {
  readonly nameservers: readonly string[]
  readonly domain?: string
  readonly search: readonly string[]
  readonly options: readonly string[]
}

/**
 * Reads the text of a resolv.conf the way host-local does: lines that begin with # or ; and lines with one word or
 * an unknown first word mean nothing, `search` and `options` add up, the last `domain` counts. Never throws.
 */
export function parseResolvConf(text: string): ResolvConf {
  const lines = text.split('\n').map((line) => line.trim().split(/\s+/))
  const valuesOf = (keyword: string) =>
    lines.flatMap(([first, ...values]) => (first === keyword ? values : []))
  const firstOf = (keyword: string) =>
    lines.flatMap(([first, value]) => (first === keyword && value ? [value] : []))
  const domain = firstOf('domain').at(-1)
  return {
    nameservers: firstOf('nameserver'),
    ...(domain !== undefined && { domain }),
    search: valuesOf('search'),
    options: valuesOf('options'),
  }
}
