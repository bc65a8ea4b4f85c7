/** The suite that all conformance cases are in, whatever file they come from. */
export const SUITE = 'conformance'

/** What the name of a test tells of a conformance case. */
export type Run = {
  readonly id: string
  readonly title: string
  readonly subject: 'reference' | 'bowline'
  /** Why the reference is to fail; absent when it is to pass. */
  readonly fails?: string
}

/** Reads `12e: TITLE (reference, CNI 1.1.0) fails: WHY`; undefined for another name. */
export function parseName(name: string): Run | undefined {
  const parts = /^(\w+): (.*) \((reference|bowline)(?:, CNI [\d.]+)?\)(?: fails: (.*))?$/.exec(name)
  if (!parts) return undefined
  const [, id = '', title = '', subject, fails] = parts
  return { id, title, subject: subject as Run['subject'], ...(fails && { fails }) }
}
