import fc from 'fast-check'

/** Bytes that a decoder is likely to look at twice. */
const TELLING = [0, 1, 2, 3, 4, 0x7f, 0x80, 0xff]

/** Anything at all, or a sample of the real thing with some bytes changed, put in or cut off. */
export function malformed(samples: readonly Uint8Array[]): fc.Arbitrary<Uint8Array> {
  return fc.oneof(fc.uint8Array({ maxLength: 200 }), damaged(samples))
}

/** A sample with some bytes changed, taken out or put in, and perhaps cut short. */
export function damaged(samples: readonly Uint8Array[]): fc.Arbitrary<Uint8Array> {
  return fc
    .record({
      sample: fc.constantFrom(...samples),
      hits: fc.array(hit, { maxLength: 8 }),
      cut: fc.nat(),
    })
    .map(({ sample, hits, cut }) => {
      const bytes = [...sample.subarray(0, cut % 3 === 0 ? cut % (sample.length + 1) : sample.length)]
      for (const { at, remove, insert } of hits) bytes.splice(at % (bytes.length + 1), remove, ...insert)
      return Uint8Array.from(bytes)
    })
}

const byte = fc.oneof(fc.constantFrom(...TELLING), fc.nat(255))
const hit = fc.oneof(
  { weight: 4, arbitrary: fc.record({ at: fc.nat(), remove: fc.constant(1), insert: fc.tuple(byte) }) },
  {
    weight: 1,
    arbitrary: fc.record({ at: fc.nat(), remove: fc.nat(4), insert: fc.array(byte, { maxLength: 4 }) }),
  },
)

/** The same for text: what is left of it is read as UTF-8, as files and standard input are. */
export function malformedText(samples: readonly string[]): fc.Arbitrary<string> {
  const bytes = samples.map((sample) => new TextEncoder().encode(sample))
  return fc.oneof(fc.string({ unit: 'binary', maxLength: 80 }), malformed(bytes).map(textOf))
}

function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes)
}

/** Text that means something to somebody: a path, a shell, a format, JSON, the kernel, a terminal. */
export const HOSTILE_TEXT = [
  '',
  ' ',
  '.',
  '..',
  '../../etc/passwd',
  '/',
  '/etc/passwd',
  '/var/lib/cni/../../../etc',
  'a/b',
  '-h',
  '--help',
  '%d',
  '%s%n',
  '$(id)',
  '`id`',
  ';id',
  '"',
  "'",
  '\\',
  'a\nb',
  'a\r\nb',
  'a\0b',
  '\u001b[31m',
  'é',
  '日本',
  '\u202e',
  '\ufeff',
  '\ud800',
  '__proto__',
  'constructor',
  'x'.repeat(16),
  'x'.repeat(300),
  'x'.repeat(70_000),
  '0',
  '1e9',
  '0x1',
  '127.0.0.1',
  '::ffff:10.1.0.5',
  '10.1.0.0/33',
  'fe80::1%eth0',
  'ff:ff:ff:ff:ff:ff',
]

const hostileValue = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom<unknown>(...HOSTILE_TEXT) },
  {
    weight: 2,
    arbitrary: fc.constantFrom<unknown>(
      ...[null, true, 0, -1, 0.5, 2 ** 53, 1e308, [], {}, [[]], [null]],
      // Has no text.
      { toString: 0 },
    ),
  },
  { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 2 }) as fc.Arbitrary<unknown> },
)

/** A sample with one to three of its values exchanged for something hostile, or left out. */
export function malformedObject(samples: readonly object[]): fc.Arbitrary<object> {
  const change = fc.record({ at: fc.nat(), value: fc.option(hostileValue, { nil: undefined, freq: 8 }) })
  return fc
    .record({
      sample: fc.constantFrom(...samples),
      changes: fc.array(change, { minLength: 1, maxLength: 3 }),
    })
    .map(({ sample, changes }) => {
      const copy = structuredClone(sample) as Holder
      for (const { at, value } of changes) {
        const places = placesIn(copy)
        const place = places[at % places.length]
        if (place) place.holder[place.key] = structuredClone(value)
      }
      return copy
    })
}

type Holder = Record<string, unknown>

/** Every value within, with what holds it. */
function placesIn(holder: Holder): { holder: Holder; key: string }[] {
  return Object.entries(holder).flatMap(([key, value]) => [
    { holder, key },
    ...(typeof value === 'object' && value !== null ? placesIn(value as Holder) : []),
  ])
}
