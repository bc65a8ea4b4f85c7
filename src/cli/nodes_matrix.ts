import { type Cell, type CellParts, decodeCell, type WayState } from '../overlay/mesh/cell.ts'
import { WAYS } from '../overlay/mesh/packet.ts'
import type { MeshView } from '../overlay/mesh/view.ts'
import type { Paint, Style } from './screen.ts'

/*
 * The matrix of all nodes: the round trip of packets between pods, from the node at the left to the node above. What is wrong is a sign and
 * not a colour alone. It takes the widest form that the terminal has room for: names above, numbers above, signs alone.
 */

type Shown = { readonly text: string; readonly sign: string; readonly style?: Style }

const SIGNS: Readonly<Record<WayState, readonly [sign: string, style: Style, meaning: string]>> = {
  ok: ['•', 'green', 'all is well'],
  lossy: ['!', 'yellow', 'loses packets'],
  small: ['~', 'red', 'carries only small packets'],
  silent: ['✗', 'red', 'nothing arrives'],
  noAgent: ['–', 'yellow', 'no agent answers'],
  unmeasured: ['?', 'dim', 'not measured yet'],
}
/** The worse, the later. */
const BADNESS: readonly WayState[] = ['unmeasured', 'ok', 'lossy', 'small', 'noAgent', 'silent']
const SELF: Shown = { text: '·', sign: '·', style: 'dim' }

/** Returns the lines of the matrix for a terminal of so many columns. */
export function drawMatrix({ nodes, rows }: MeshView, paint: Paint, columns: number): string[] {
  const names = shortNames(nodes.map(({ name }) => name))
  const cells = names.map((_, from) => names.map((_, to) => cellAt(rows[from] ?? [], from, to)))
  const states = cells.flat().flatMap((one) => (one ? [one.state] : []))
  const isMixed = new Set(measuredIn(cells).map(({ isTunnelled }) => isTunnelled)).size > 1
  const shown = cells.map((row) => row.map((one) => (one ? show(one, isMixed) : SELF)))
  const widest = Math.max(...shown.flat().map(({ text }) => [...text].length))
  const form = formFor(names, widest, columns)
  if (!form) {
    return [
      `The matrix of ${names.length} nodes has no room in ${columns} columns: see it with bowline nodes --web`,
    ]
  }
  return [
    paint('dim', 'Round trips between pods in ms: from the node at the left to the node above'),
    form.heading,
    ...shown.map((row, from) => {
      const line = row.map(({ text, sign, style = 'green' }) => {
        const word = form.isSigns ? sign : text
        return ' '.repeat(1 + Math.max(0, form.width - [...word].length)) + paint(style, word)
      })
      return `${form.labels[from]}${line.join('')}`
    }),
    ...legend(states, isMixed && !form.isSigns, form.isSigns, paint),
  ]
}

type Form = {
  readonly heading: string
  readonly labels: readonly string[]
  readonly width: number
  readonly isSigns: boolean
}

function formFor(names: readonly string[], widest: number, columns: number): Form | undefined {
  const longest = Math.max(...names.map((name) => name.length))
  const labels = names.map((name) => name.padEnd(longest))
  const numbers = names.map((_, i) => String(i + 1))
  const digits = String(names.length).length
  const numbered = names.map((name, i) => `${(numbers[i] ?? '').padStart(digits)} ${name.padEnd(longest)}`)
  const headed = (
    words: readonly string[],
    labels: readonly string[],
    width: number,
    isSigns = false,
  ): Form => ({
    heading: `${' '.repeat(labels[0]?.length ?? 0)}${words.map((word) => ` ${word.padStart(width)}`).join('')}`,
    labels,
    width,
    isSigns,
  })
  const forms = [
    headed(names, labels, Math.max(longest, widest) + 1),
    headed(numbers, numbered, Math.max(digits, widest)),
    headed(numbers, numbered, digits, true),
  ]
  return forms.find(({ heading }) => heading.length <= columns)
}

/** The worst of the ways to the pods of a node; undefined for the node itself. */
function cellAt(row: readonly Cell[], from: number, to: number): CellParts | undefined {
  if (from === to) return undefined
  const pods = WAYS.flatMap(({ network }, i) => {
    return network === 'pods' ? [decodeCell(row[to * WAYS.length + i] ?? 0)] : []
  })
  return pods.reduce((worst, one) =>
    BADNESS.indexOf(one.state) > BADNESS.indexOf(worst.state) ? one : worst,
  )
}

function measuredIn(cells: readonly (readonly (CellParts | undefined)[])[]): CellParts[] {
  return cells.flat().filter((one) => one !== undefined && one.state !== 'unmeasured') as CellParts[]
}

function show({ state, rttUs, isTunnelled }: CellParts, isMixed: boolean): Shown {
  const [sign, style] = SIGNS[state]
  const isTimed = rttUs !== undefined && ['ok', 'lossy', 'small'].includes(state)
  const mark = isMixed && isTunnelled ? '»' : ''
  const text = isTimed ? `${mark}${rttText(rttUs / 1000)}${state === 'ok' ? '' : sign}` : sign
  return { text, sign, style }
}

/** Returns names without the domain that all of them share: `ip-10-0-0-17` for `ip-10-0-0-17.eu-west-1.compute.internal`. */
export function shortNames(names: readonly string[]): string[] {
  const [first = '', ...others] = names
  const isShared = (domain: string) =>
    others.every((name) => name.endsWith(domain) && name.length > domain.length)
  const domains = [...first.matchAll(/\./g)].map(({ index }) => first.slice(index))
  const domain = others.length > 0 ? (domains.find((one) => one !== first && isShared(one)) ?? '') : ''
  return names.map((name) => name.slice(0, name.length - domain.length))
}

/** Returns a time with three digits at most: `0.59`, `12.3`, `140`. */
export function rttText(ms: number): string {
  return ms.toFixed(ms < 9.995 ? 2 : ms < 99.95 ? 1 : 0)
}

/** Explains the signs that are there. */
function legend(states: readonly WayState[], hasMark: boolean, hasOk: boolean, paint: Paint): string[] {
  const used = BADNESS.filter((state) => states.includes(state) && (state !== 'ok' || hasOk))
  const words = used.map((state) => `${SIGNS[state][0]} ${SIGNS[state][2]}`)
  const all = [...(hasMark ? ['» encapsulated'] : []), ...words]
  return all.length > 0 ? [paint('dim', all.join('   '))] : []
}
