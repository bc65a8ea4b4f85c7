import { type Address, formatAddress } from '../core/address.ts'
import type { AddressState, PoolUsage } from './pool_usage.ts'
import { formatCount } from './pool_usage.ts'
import { type Paint, type Style, width } from './screen.ts'

/** Addresses, or blocks of them, in a row. */
const ROWS = [64n, 32n, 16n] as const
const GROUP = 16
/** With more rows than this that are not free, a character stands for a block of addresses. */
const MAX_ROWS = 40
const MAX_BLOCK_ROWS = 16n

const SIGNS: Readonly<Record<AddressState, readonly [sign: string, style: Style]>> = {
  used: ['■', 'green'],
  stale: ['✗', 'red'],
  unrecorded: ['?', 'yellow'],
  reserved: ['R', 'cyan'],
}
const FREE = '·'
/** How full a block is, by quarters. */
const SHADES = ['░', '▒', '▓', '█']

/** Returns what the signs mean. */
export function legend(paint: Paint): string {
  const signs = Object.entries(SIGNS).map(([state, [sign, style]]) => `${paint(style, sign)} ${state}`)
  return [...signs, `${paint('dim', FREE)} free`].join('   ')
}

/**
 * Draws the addresses of a pool: one character each, in rows of 64 that begin at a multiple of 64; in shorter ones where these are too long
 * for the terminal. Free rows are counted and not drawn, so a range of 2^64 addresses takes as many lines as it has neighbourhoods in use.
 */
export function drawPool(pool: PoolUsage, paint: Paint, columns = Number.POSITIVE_INFINITY): string[] {
  let lines: string[] = []
  for (const row of ROWS) {
    lines = drawRanges(pool, row, paint)
    if (lines.every((line) => width(line) <= columns)) break
  }
  return lines
}

function drawRanges({ set, states }: PoolUsage, row: bigint, paint: Paint): string[] {
  return set.ranges.flatMap((range) => {
    const { start, end } = range
    const inRange = [...states].filter(([value]) => start.value <= value && value <= end.value)
    const rows = new Set(inRange.map(([value]) => value / row))
    if (rows.size <= MAX_ROWS) return drawCells(range, row, states, paint)
    return drawBlocks(range, row, blockSize(range, row), inRange, paint)
  })
}

type Range = { readonly start: Address; readonly end: Address }

function drawCells(
  { start, end }: Range,
  row: bigint,
  states: ReadonlyMap<bigint, AddressState>,
  paint: Paint,
): string[] {
  const cell = (value: bigint): string => {
    if (value < start.value || value > end.value) return ' '
    const state = states.get(value)
    if (!state) return paint('dim', FREE)
    const [sign, style] = SIGNS[state]
    return paint(style, sign)
  }
  const known = [...new Set([...states.keys()].map((value) => value / row))]
  return drawRows({ start, end }, row, 1n, known, cell, paint)
}

function drawBlocks(
  { start, end }: Range,
  row: bigint,
  size: bigint,
  inRange: readonly (readonly [bigint, AddressState])[],
  paint: Paint,
): string[] {
  const held = new Map<bigint, { count: number; style: Style }>()
  for (const [value, state] of inRange) {
    const { count, style } = held.get(value / size) ?? { count: 0, style: 'green' }
    const isWorse = state === 'stale' || (state === 'unrecorded' && style === 'green')
    held.set(value / size, { count: count + 1, style: isWorse ? SIGNS[state][1] : style })
  }
  const cell = (value: bigint): string => {
    const block = held.get(value / size)
    if (!block) return value + size <= start.value || value > end.value ? ' ' : paint('dim', FREE)
    return paint(block.style, SHADES[Math.min(3, Math.floor((4 * block.count) / Number(size)))] ?? '█')
  }
  const known = [...new Set([...held.keys()].map((block) => block / row))]
  return [
    ...drawRows({ start, end }, row, size, known, cell, paint),
    paint('dim', `one character is ${size} addresses: ░ some, ▒ ▓ █ by quarters`),
  ]
}

/** `known` are the rows that are not all free. */
function drawRows(
  { start, end }: Range,
  cells: bigint,
  size: bigint,
  known: readonly bigint[],
  cell: (value: bigint) => string,
  paint: Paint,
): string[] {
  const { family } = start
  const length = cells * size
  const [first, last] = [start.value / length, end.value / length]
  const rows = known
    .filter((row) => first <= row && row <= last)
    .sort(descending)
    .reverse()
  // Of a small range all is drawn.
  const drawn =
    last - first < 8n ? Array.from({ length: Number(last - first) + 1 }, (_, i) => first + BigInt(i)) : rows
  const label = (row: bigint) => formatAddress({ family, value: row * length })
  const labelWidth = Math.max(...drawn.map((row) => label(row).length), 8)
  const lines: string[] = []
  let next = first
  const skip = (to: bigint): void => {
    const [from] = [next * length, start.value].sort(descending)
    const [, until] = [to * length - 1n, end.value].sort(descending)
    if (to <= next || from === undefined || until === undefined) return
    lines.push(paint('dim', `${'…'.padEnd(labelWidth)}  ${formatCount(until - from + 1n)} free`))
  }
  for (const row of drawn) {
    skip(row)
    const signs = Array.from({ length: Number(cells) }, (_, i) => cell(row * length + BigInt(i) * size))
    const groups = signs.flatMap((one, i) => (i > 0 && i % GROUP === 0 ? [' ', one] : [one]))
    lines.push(`${label(row).padEnd(labelWidth)}  ${groups.join('')}`.trimEnd())
    next = row + 1n
  }
  skip(last + 1n)
  return lines
}

function descending(a: bigint, b: bigint): number {
  return a < b ? 1 : a > b ? -1 : 0
}

/** A power of two, so that the range has few rows. */
function blockSize({ start, end }: Range, row: bigint): bigint {
  let size = 1n
  while ((end.value - start.value) / (row * size) >= MAX_BLOCK_ROWS) size *= 2n
  return size
}
