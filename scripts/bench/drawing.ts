import { REFERENCE } from './subjects.ts'
import { type Finding, number } from './tables.ts'

const WIDTH = 860
const LEFT = 300
const BAR = 11
const GAP = 16
/** Where the numbers stand; a longer bar is cut off there. */
const NUMBERS = 632
const PIXELS_PER_ONE = 213

/** Middle grey and saturated colours can be read on white and on black. */
const STYLE = `
  text { font: 13px system-ui, sans-serif; fill: #808080 }
  .title { font-size: 16px; font-weight: 600 }
  .number { font-size: 11px }
  .l3 { fill: #2f81f7 }
  .l2 { fill: #8a63d2 }
  .other { fill: #d29922 }
  .one { stroke: #808080; stroke-dasharray: 3 3 }`

/** The ratios to the reference plugins as bars. Behind each stands the number, and what was measured: ours of theirs. */
export function drawingOf(findings: readonly Finding[], machine: string): string {
  const drawn = findings.filter(({ base }) => base === REFERENCE)
  const isTraffic = ({ unit }: Finding) => unit === 'per second' || unit === 'Gbit/s'
  const charts = [
    chart('Traffic between pods: a longer bar is better', drawn.filter(isTraffic), findings),
    chart(
      'Time, memory and size: a shorter bar is better',
      drawn.filter((one) => !isTraffic(one)),
      findings,
    ),
  ].reverse()
  let y = 84
  const placed = charts.map(({ text, height }) => {
    const part = `<g transform="translate(0 ${y})">\n${text}\n</g>`
    y += height
    return part
  })
  const names = [...new Set(drawn.map(({ contender }) => contender))]
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${y + 30}" viewBox="0 0 ${WIDTH} ${y + 30}" role="img">
<title>Bowline beside the reference CNI plugins</title>
<style>${STYLE}
</style>
<text class="title" x="16" y="28">Bowline beside the reference plugins bridge and host-local, which are 1</text>
${names.map(legend).join('\n')}
${placed.join('\n')}
<text class="number" x="16" y="${y + 16}">${escaped(machine.split('\n')[0] ?? '')}</text>
</svg>
`
}

function legend(name: string, index: number): string {
  const x = 16 + 150 * index
  const text = name === 'l3' || name === 'l2' ? `Bowline, ${name}` : name
  return `<rect class="${colorOf(name)}" x="${x}" y="44" width="12" height="12"/><text x="${x + 18}" y="55">${escaped(text)}</text>`
}

function chart(
  heading: string,
  bars: readonly Finding[],
  all: readonly Finding[],
): { text: string; height: number } {
  if (bars.length === 0) return { text: '', height: 0 }
  let y = 30
  const rows = [...Map.groupBy(bars, ({ what }) => what)].map(([what, group]) => {
    const reference = all.find((one) => one.what === what && one.contender === REFERENCE)
    const label = `<text x="${LEFT - 10}" y="${y + (BAR * group.length) / 2 + 4}" text-anchor="end">${escaped(what)}</text>`
    const drawn = group.map((finding, i) => bar(finding, reference?.median ?? 0, y + BAR * i))
    y += BAR * group.length + GAP
    return [label, ...drawn].join('\n')
  })
  const one = LEFT + PIXELS_PER_ONE
  const line = `<line class="one" x1="${one}" x2="${one}" y1="20" y2="${y - GAP + 6}"/>`
  return { text: `<text x="16" y="8">${heading}</text>\n${line}\n${rows.join('\n')}`, height: y + 14 }
}

function bar({ contender, ratio = 0, median, unit }: Finding, reference: number, y: number): string {
  const width = Math.min(ratio * PIXELS_PER_ONE, NUMBERS - LEFT - 12).toFixed(1)
  const text = `${ratio.toFixed(2)} (${number(median)} of ${number(reference)} ${unit})`
  return `<rect class="${colorOf(contender)}" x="${LEFT}" y="${y}" width="${width}" height="${BAR - 2}"/><text class="number" x="${NUMBERS}" y="${y + BAR - 2}">${text}</text>`
}

function colorOf(name: string): string {
  return name === 'l3' || name === 'l2' ? name : 'other'
}

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`)
}
