import type { CommandContext } from './command.ts'

/** SGR codes. Source: ECMA-48, 8.3.117. */
const STYLES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 }

export type Style = keyof typeof STYLES

/** Returns a text in a style; as it is where no colours are wanted. */
export type Paint = (style: Style, text: string) => string

/** Colours are for a terminal that has them, and for people who want them (no-color.org). */
export function painter({ machine, env }: Pick<CommandContext, 'machine' | 'env'>): Paint {
  const isColoured = !env['NO_COLOR'] && env['TERM'] !== 'dumb' && machine.isTerminal(1)
  return (style, text) => (isColoured ? `\x1b[${STYLES[style]}m${text}\x1b[0m` : text)
}

/**
 * Writes control characters as JSON does, but for line feeds, tabs and our styles: names of files and what other programs say could
 * move the cursor, clear the screen or set the title.
 */
export function printable(text: string): string {
  return text.replace(CONTROL, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL = /(?!\x1b\[\d+m)[\0-\x08\x0b-\x1f\x7f-\x9f]/g

/** Returns how many characters a line may have; a file and a pipe have lines of any length. */
export function columnsOf({ machine }: Pick<CommandContext, 'machine'>): number {
  return machine.isTerminal(1) ? machine.columns() : Number.POSITIVE_INFINITY
}

/**
 * Returns rows as lines with columns of equal width. Numbers stand at the right: a heading that begins with `>` says so. Where the lines
 * would be too long, each row becomes its first cell, and below it the others with their headings.
 */
export function table(
  paint: Paint,
  headings: readonly string[],
  rows: readonly (readonly string[])[],
  columns = Number.POSITIVE_INFINITY,
): string[] {
  const names = headings.map((heading) => heading.replace('>', ''))
  const widths = names.map((name, i) => Math.max(width(name), ...rows.map((row) => width(row[i] ?? ''))))
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => {
        const gap = ' '.repeat((widths[i] ?? 0) - width(cell))
        return headings[i]?.startsWith('>') ? gap + cell : cell + gap
      })
      .join('  ')
      .trimEnd()
  const lines = [paint('dim', line(names)), ...rows.map(line)]
  return lines.every((one) => width(one) <= columns) ? lines : records(paint, names, rows, columns)
}

function records(
  paint: Paint,
  names: readonly string[],
  rows: readonly (readonly string[])[],
  columns: number,
): string[] {
  return rows.flatMap(([first = '', ...cells]) => {
    const fields = cells.flatMap((cell, i) => {
      const name = names[i + 1]?.toLowerCase()
      if (cell === '' || cell === '–') return []
      return [name ? `${paint('dim', name)} ${cell}` : cell]
    })
    return [...(first === '' ? [] : [first]), ...flow(fields, '  ', columns, '    ')]
  })
}

/** Returns lines of parts that stay whole, none longer than `columns` if its parts are not. */
export function flow(parts: readonly string[], gap: string, columns: number, indent: string): string[] {
  const lines: string[] = []
  for (const part of parts) {
    const longer = lines.length > 0 ? `${lines.at(-1)}${gap}${part}` : undefined
    if (longer !== undefined && width(longer) <= columns) lines[lines.length - 1] = longer
    else lines.push(indent + part)
  }
  return lines
}

/** Returns how much of a bar of `length` characters is full. */
export function bar(part: number, length: number): string {
  const eighths = Math.round(Math.min(1, Math.max(0, part)) * length * 8)
  const full = '█'.repeat(eighths >> 3)
  return (full + (eighths % 8 ? '▏▎▍▌▋▊▉'.charAt((eighths % 8) - 1) : '')).padEnd(length, '·')
}

/** Returns a time span in its largest unit: `45s`, `12m`, `7h`, `3d`. */
export function age(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000))
  if (seconds < 90) return `${seconds}s`
  if (seconds < 90 * 60) return `${Math.floor(seconds / 60)}m`
  return seconds < 48 * 3600 ? `${Math.floor(seconds / 3600)}h` : `${Math.floor(seconds / 86400)}d`
}

/** Returns a number of bytes with a unit of 1000: `1.2 MB`. */
export function bytes(count: number): string {
  const unit = count < 1 ? 0 : Math.min(5, Math.floor(Math.log10(count) / 3))
  const value = count / 1000 ** unit
  return unit === 0 ? `${count} B` : `${value.toFixed(value < 9.95 ? 1 : 0)} ${'kMGTP'.charAt(unit - 1)}B`
}

/** Returns `1 pod`, `2 pods`. */
export function counted(count: number, thing: string): string {
  return `${count} ${thing}${count === 1 ? '' : 's'}`
}

/** Characters on the screen, without the codes of styles. */
export function width(text: string): number {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the code of a style begins with one
  return [...text.replace(/\x1b\[\d+m/g, '')].length
}
/** Tells a person what goes on, on a terminal and only when it takes longer than a second. */
export function progress({ machine }: Pick<CommandContext, 'machine'>, what: string, total: number) {
  const begin = machine.now()
  let shown = begin
  const isTerminal = total > 1 && machine.isTerminal(2)
  return {
    step(done: number): void {
      if (!isTerminal) return
      const now = machine.now()
      if (now - begin < 1000 || now - shown < 100) return
      shown = now
      machine.show(`\r${what} ${done}/${total} ${bar(done / total, 20)}`)
    },
    end(): void {
      if (shown > begin) machine.show('\r\x1b[K')
    },
  }
}
