import type { Finding } from './findings.ts'
import type { Machine } from './machine.ts'
import { REFERENCE } from './networks.ts'
import { number } from './tables.ts'

const WIDTH = 860
const LEFT = 300
const RIGHT = 240
const BAR = 11
const GAP = 16
const TOP = 84
/** A longer bar is cut off; its number says how long it would be. */
const LONGEST = 1.5
const PIXELS_PER_ONE = (WIDTH - LEFT - RIGHT) / LONGEST

/** Middle grey and saturated colours can be read on white and on black. */
const STYLE = `
  text { font: 13px system-ui, sans-serif; fill: #808080 }
  .title { font-size: 16px; font-weight: 600 }
  .number { font-size: 11px }
  .l3 { fill: #2f81f7 }
  .l2 { fill: #8a63d2 }
  .other { fill: #d29922 }
  .one { stroke: #808080; stroke-dasharray: 3 3 }`

/**
 * The ratios to the reference plugins as bars, the reference being 1: less is better in time, and more in traffic. Behind each bar stands the number, and what was measured: ours of theirs.
 */
export function drawingOf(findings: readonly Finding[], machine: Machine): string {
  const drawn = findings.filter(({ base, ratio }) => base === REFERENCE && ratio !== undefined)
  const times = drawn.filter(({ unit }) => unit === 'ms')
  const rates = drawn.filter(({ unit }) => unit === 'per second' || unit === 'Gbit/s')
  const references = findings.filter(({ contender }) => contender === REFERENCE)
  let at = TOP
  const parts = [
    { heading: 'Time of a call: a shorter bar is better', bars: times },
    { heading: 'Traffic between pods: a longer bar is better', bars: rates },
  ].flatMap(({ heading, bars }) => {
    if (bars.length === 0) return []
    const lines = chart(heading, bars, references, at)
    at += lines.height
    return [lines.text]
  })
  const names = [...new Set(drawn.map(({ contender }) => contender))]
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${at + 30}" viewBox="0 0 ${WIDTH} ${at + 30}" role="img">
<title>Bowline beside the reference CNI plugins</title>
<style>${STYLE}
</style>
<text class="title" x="16" y="28">Bowline beside the reference plugins bridge and host-local, which are 1</text>
${legend(names)}
${parts.join('\n')}
<text class="number" x="16" y="${at + 16}">${escaped(`${machine['processors'] ?? ''}; ${machine['kernel'] ?? ''}`)}</text>
</svg>
`
}

function legend(names: readonly string[]): string {
  return names
    .map((name, i) => {
      const x = 16 + 150 * i
      const box = `<rect class="${colorOf(name)}" x="${x}" y="44" width="12" height="12"/>`
      return `${box}<text x="${x + 18}" y="55">${escaped(LONG_NAMES[name] ?? name)}</text>`
    })
    .join('\n')
}

const LONG_NAMES: Readonly<Record<string, string>> = { l3: 'Bowline, l3', l2: 'Bowline, l2' }

function chart(
  heading: string,
  findings: readonly Finding[],
  references: readonly Finding[],
  top: number,
): { text: string; height: number } {
  const groups = Map.groupBy(findings, ({ what }) => what)
  let y = top + 30
  const rows = [...groups].map(([what, bars]) => {
    const reference = references.find((one) => one.what === what)
    const label = `<text x="${LEFT - 10}" y="${y + (BAR * bars.length) / 2 + 4}" text-anchor="end">${escaped(what)}</text>`
    const drawn = bars.map((finding, i) => bar(finding, reference, y + BAR * i))
    y += BAR * bars.length + GAP
    return [label, ...drawn].join('\n')
  })
  const one = LEFT + PIXELS_PER_ONE
  const line = `<line class="one" x1="${one}" x2="${one}" y1="${top + 20}" y2="${y - GAP + 6}"/>`
  return {
    text: `<text x="16" y="${top + 8}">${heading}</text>\n${line}\n${rows.join('\n')}`,
    height: y - top + 14,
  }
}

function bar(
  { contender, ratio = 0, summary, unit }: Finding,
  reference: Finding | undefined,
  y: number,
): string {
  const length = Math.min(ratio, LONGEST) * PIXELS_PER_ONE
  const rect = `<rect class="${colorOf(contender)}" x="${LEFT}" y="${y}" width="${length.toFixed(1)}" height="${BAR - 2}"/>`
  const of = reference ? ` of ${number(reference.summary.median)}` : ''
  const text = `${ratio.toFixed(2)} (${number(summary.median)}${of} ${unit})`
  return `${rect}<text class="number" x="${WIDTH - RIGHT + 12}" y="${y + BAR - 2}">${text}</text>`
}

function colorOf(name: string): string {
  return name === 'l3' || name === 'l2' ? name : 'other'
}

function escaped(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
}
