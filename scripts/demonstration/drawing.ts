/** The findings of the demo: addresses, shortest round trips in ms, and the address that each server saw. */
export type Scene = {
  readonly podA: readonly string[]
  readonly podB: readonly string[]
  readonly gateway: string
  readonly node: string
  readonly outside: string
  readonly podToPodMs: number
  readonly podAToGatewayMs: number
  readonly podBToGatewayMs: number
  readonly podToOutsideMs: number
  readonly podBSees: string
  readonly gatewaySees: string
  readonly outsideSees: string
}

const BOX = 20
const GAP = 8

/** Draws the scene in lines of at most 80 characters. Pure. */
export function draw(scene: Scene): string {
  const rows = Math.max(scene.podA.length, scene.podB.length, 2)
  const podA = box('pod-a', scene.podA, rows)
  const node = box('node', [scene.gateway, 'gateway'], rows)
  const podB = box('pod-b', scene.podB, rows)
  const arrowA = arrow(scene.podAToGatewayMs, rows)
  const arrowB = arrow(scene.podBToGatewayMs, rows)
  const upper = podA.map((line, row) => [line, arrowA[row], node[row], arrowB[row], podB[row]].join(''))
  const indent = ' '.repeat(BOX + GAP)
  const lower = [
    `${indent}${'▲'.padStart(BOX / 2)}`,
    `${indent}${'│'.padStart(BOX / 2)}  ${ms(scene.podToOutsideMs)} ms, masqueraded:`,
    `${indent}${'▼'.padStart(BOX / 2)}  ${scene.podA[0]} becomes ${scene.outsideSees}`,
    ...box('outside', [scene.outside], 1).map((line) => `${indent}${line}`),
  ]
  return [...upper, ...lower, '', ...table(scene)].map((line) => `  ${line}`.trimEnd()).join('\n')
}

function table(scene: Scene): string[] {
  const rows: [string, string, number, string][] = [
    ['pod-a → pod-b', scene.podB[0] ?? '', scene.podToPodMs, `pod-b sees ${scene.podBSees}: pod-a itself`],
    ['pod-a → gateway', scene.gateway, scene.podAToGatewayMs, `node sees ${scene.gatewaySees}: pod-a itself`],
    ['pod-a → outside', scene.outside, scene.podToOutsideMs, `outside sees ${scene.outsideSees}: the node`],
  ]
  return rows.map(
    ([way, address, time, seen]) =>
      `${way.padEnd(17)}${address.padEnd(12)}${ms(time).padStart(6)} ms   ${seen}`,
  )
}

function box(title: string, contents: readonly string[], rows: number): string[] {
  const inside = BOX - 2
  const lines = Array.from({ length: rows }, (_, row) => center(contents[row] ?? '', inside))
  return [
    `┌${`─ ${title} `.padEnd(inside, '─')}┐`,
    ...lines.map((line) => `│${line}│`),
    `└${'─'.repeat(inside)}┘`,
  ]
}

/** Returns the text between two boxes: the round trip in the first row, the arrow in the second. */
function arrow(time: number, rows: number): string[] {
  const blank = ' '.repeat(GAP)
  const rest = Array.from({ length: rows }, () => blank)
  return [blank, center(ms(time), GAP), `◄${'─'.repeat(GAP - 2)}►`, ...rest].slice(0, rows + 2)
}

function center(text: string, width: number): string {
  return text.padStart(Math.floor((width + text.length) / 2)).padEnd(width)
}

function ms(value: number): string {
  return value.toFixed(3)
}
