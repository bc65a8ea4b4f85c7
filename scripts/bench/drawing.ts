import { type Finding, number } from './results.ts'

/** Pixels: the width, the left ends of bars and of numbers (a longer bar is cut off), the height of a bar, a ratio of 1. */
const [WIDTH, LEFT, NUMBERS, BAR, ONE] = [860, 300, 632, 11, 213]

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
 * Draws the ratios to the reference plugins as bars, each with its number and the values that it is the ratio of. What is a multiple of
 * something else already is not among them.
 */
export function drawingOf(all: readonly Finding[], machine: string): string {
  const findings = all.filter(({ unit }) => unit !== '×')
  const isRate = ({ unit }: Finding) => unit === 'per second' || unit === 'Gbit/s'
  let y = 84
  const chart = (heading: string, drawn: readonly Finding[]): string[] => {
    if (drawn.length === 0) return []
    const top = y
    y += 30
    const groups = [...Map.groupBy(drawn, ({ what }) => what)].flatMap(([what, [reference, ...others]]) => {
      const label = text(LEFT - 10, y + (BAR * others.length) / 2 + 4, what, 'text-anchor="end"')
      const bars = others.map((one, i) => bar(one, reference?.median ?? 0, y + BAR * i))
      y += BAR * others.length + 16
      return [label, ...bars]
    })
    const line = `<line class="one" x1="${LEFT + ONE}" x2="${LEFT + ONE}" y1="${top + 20}" y2="${y - 10}"/>`
    y += 14
    return [text(16, top + 8, heading), line, ...groups]
  }
  const body = [
    ...chart(
      'Time, memory and size: a shorter bar is better',
      findings.filter((one) => !isRate(one)),
    ),
    ...chart('Traffic between pods: a longer bar is better', findings.filter(isRate)),
  ]
  const names = new Set(findings.flatMap(({ name, ratio }) => (ratio === undefined ? [] : [name])))
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${y + 30}" viewBox="0 0 ${WIDTH} ${y + 30}" role="img">
<title>Bowline beside the reference CNI plugins</title>
<style>${STYLE}
</style>
${text(16, 28, 'Bowline beside the reference plugins bridge and host-local, which are 1', 'class="title"')}
${[...[...names].map(legend), ...body].join('\n')}
${text(16, y + 16, machine.split('\n')[0] ?? '', 'class="number"')}
</svg>
`
}

function legend(name: string, index: number): string {
  const x = 16 + 150 * index
  const label = classOf(name) === 'other' ? name : `Bowline, ${name}`
  return `<rect class="${classOf(name)}" x="${x}" y="44" width="12" height="12"/>${text(x + 18, 55, label)}`
}

function bar({ name, ratio = 0, median, unit }: Finding, reference: number, y: number): string {
  const width = Math.min(ratio * ONE, NUMBERS - LEFT - 12).toFixed(1)
  const values = `${ratio.toFixed(2)} (${number(median)} of ${number(reference)} ${unit})`
  const rect = `<rect class="${classOf(name)}" x="${LEFT}" y="${y}" width="${width}" height="${BAR - 2}"/>`
  return rect + text(NUMBERS, y + BAR - 2, values, 'class="number"')
}

function text(x: number, y: number, content: string, attributes = ''): string {
  const escaped = content.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`)
  return `<text x="${x}" y="${y}" ${attributes}>${escaped}</text>`
}

function classOf(name: string): string {
  return name === 'l3' || name === 'l2' ? name : 'other'
}
