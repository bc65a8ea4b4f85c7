import { REFERENCE } from './subjects.ts'
import { type Finding, number } from './tables.ts'

const [WIDTH, LEFT, BAR, GAP, PIXELS_PER_ONE] = [860, 300, 11, 16, 213]
/** The position of the numbers; a longer bar is cut off there. */
const NUMBERS = 632

/** Middle grey and saturated colours can be read on white and on black. */
const STYLE = `
  text { font: 13px system-ui, sans-serif; fill: #808080 }
  .title { font-size: 16px; font-weight: 600 }
  .number { font-size: 11px }
  .l3 { fill: #2f81f7 }
  .l2 { fill: #8a63d2 }
  .other { fill: #d29922 }
  .one { stroke: #808080; stroke-dasharray: 3 3 }`

/** Draws the ratios to the reference plugins as bars, each with its number and the values that it is the ratio of. */
export function drawingOf(findings: readonly Finding[], machine: string): string {
  const drawn = findings.filter(({ base }) => base === REFERENCE)
  const isTraffic = ({ unit }: Finding) => unit === 'per second' || unit === 'Gbit/s'
  const charts: [string, Finding[]][] = [
    ['Time, memory and size: a shorter bar is better', drawn.filter((one) => !isTraffic(one))],
    ['Traffic between pods: a longer bar is better', drawn.filter(isTraffic)],
  ]
  let y = 84
  const body = charts.flatMap(([heading, bars]) => {
    if (bars.length === 0) return []
    const top = y
    y += 30
    const rows = [...Map.groupBy(bars, ({ what }) => what)].flatMap(([what, group]) => {
      const reference = findings.find((one) => one.what === what && one.contender === REFERENCE)
      const label = text(LEFT - 10, y + (BAR * group.length) / 2 + 4, what, 'text-anchor="end"')
      const lines = group.map((finding, i) => bar(finding, reference?.median ?? 0, y + BAR * i))
      y += BAR * group.length + GAP
      return [label, ...lines]
    })
    const one = LEFT + PIXELS_PER_ONE
    const line = `<line class="one" x1="${one}" x2="${one}" y1="${top + 20}" y2="${y - GAP + 6}"/>`
    y += 14
    return [text(16, top + 8, heading), line, ...rows]
  })
  const names = [...new Set(drawn.map(({ contender }) => contender))]
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${y + 30}" viewBox="0 0 ${WIDTH} ${y + 30}" role="img">
<title>Bowline beside the reference CNI plugins</title>
<style>${STYLE}
</style>
${text(16, 28, 'Bowline beside the reference plugins bridge and host-local, which are 1', 'class="title"')}
${[...names.map(legend), ...body].join('\n')}
${text(16, y + 16, machine.split('\n')[0] ?? '', 'class="number"')}
</svg>
`
}

function legend(name: string, index: number): string {
  const x = 16 + 150 * index
  const label = colorOf(name) === 'other' ? name : `Bowline, ${name}`
  return `<rect class="${colorOf(name)}" x="${x}" y="44" width="12" height="12"/>${text(x + 18, 55, label)}`
}

function bar({ contender, ratio = 0, median, unit }: Finding, reference: number, y: number): string {
  const width = Math.min(ratio * PIXELS_PER_ONE, NUMBERS - LEFT - 12).toFixed(1)
  const values = `${ratio.toFixed(2)} (${number(median)} of ${number(reference)} ${unit})`
  const rect = `<rect class="${colorOf(contender)}" x="${LEFT}" y="${y}" width="${width}" height="${BAR - 2}"/>`
  return rect + text(NUMBERS, y + BAR - 2, values, 'class="number"')
}

function text(x: number, y: number, content: string, attributes = ''): string {
  const escaped = content.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`)
  return `<text x="${x}" y="${y}" ${attributes}>${escaped}</text>`
}

function colorOf(name: string): string {
  return name === 'l3' || name === 'l2' ? name : 'other'
}
