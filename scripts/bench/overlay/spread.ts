export type Spread = { readonly median: number; readonly max: number }

export function spreadOf(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b)
  return { median: sorted[sorted.length >> 1] ?? 0, max: sorted.at(-1) ?? 0 }
}

export function formatSpread({ median, max }: Spread): string {
  return `${median.toFixed(1)} (max ${max.toFixed(1)}) ms`
}
