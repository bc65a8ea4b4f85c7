import { numbersOf } from '../../src/runtime/numbers.ts'
import type { Runtime, SpawnEnd, SpawnRequest } from '../../src/runtime/runtime.ts'
import { readText, textBytes } from '../../src/runtime/utf8.ts'

/**
 * What every runtime must do. A case is what it shows as JSON, and what that must be: so the same cases run where there is no
 * test framework, in the executable's engine (runtime_program.ts).
 */
export type RuntimeCase = {
  readonly name: string
  readonly run: (runtime: Runtime) => unknown
  readonly expected: unknown
}

const O_CREAT_RDWR = 0o102
const AT_FDCWD = -100
const ENOENT = 2
const EBADF = 9
const EACCES = 13
const EFAULT = 14
const ENOSYS = 38

export const RUNTIME_CASES: readonly RuntimeCase[] = [
  {
    name: 'a system call returns what the kernel returns',
    run: (runtime) => runtime.syscall(numbersOf(runtime.arch).geteuid) >= 0,
    expected: true,
  },
  {
    name: 'a refused system call returns the negative errno',
    run: (runtime) => {
      const number = numbersOf(runtime.arch)
      return [
        runtime.syscall(number.openat, AT_FDCWD, '/none/such', 0, 0),
        runtime.syscall(number.close, 12345),
        runtime.syscall(9999),
        runtime.syscall(number.pipe2, 0, 0),
      ]
    },
    expected: [-ENOENT, -EBADF, -ENOSYS, -EFAULT],
  },
  {
    name: 'bytes and texts reach the kernel, and come back',
    run: (runtime) => {
      const number = numbersOf(runtime.arch)
      const path = '/tmp/runtime-contract-é'
      const fd = runtime.syscall(number.openat, AT_FDCWD, path, O_CREAT_RDWR, 0o600)
      const written = runtime.syscall(number.pwrite64, fd, textBytes('grün'), 5, 0)
      const bytes = new Uint8Array(16)
      const read = runtime.syscall(number.pread64, fd, bytes.subarray(2), 14, 0)
      runtime.syscall(number.close, fd)
      const removed = runtime.syscall(number.unlinkat, AT_FDCWD, path, 0)
      return [written, read, readText(bytes.subarray(2, 2 + read)), bytes[0], removed]
    },
    expected: [5, 5, 'grün', 0, 0],
  },
  {
    name: 'an empty text and empty bytes are handed over',
    run: (runtime) => {
      const number = numbersOf(runtime.arch)
      return [
        runtime.syscall(number.openat, AT_FDCWD, '', 0, 0),
        runtime.syscall(number.write, 2, new Uint8Array(), 0),
      ]
    },
    expected: [-ENOENT, 0],
  },
  {
    name: 'what is no argument is refused by name, and nothing is called',
    run: (runtime) => {
      const number = numbersOf(runtime.arch)
      const call = runtime.syscall as (...args: unknown[]) => number
      const wrong = [
        1.5,
        Number.NaN,
        Infinity,
        2 ** 60,
        null,
        undefined,
        true,
        {},
        [],
        new Uint16Array(2),
        'a\0b',
      ]
      return wrong.map((one) => thrownBy(() => call(number.geteuid, one)))
    },
    expected: [
      ...Array.from({ length: 4 }, () => 'RangeError'),
      ...Array.from({ length: 7 }, () => 'TypeError'),
    ],
  },
  {
    name: 'more arguments than the kernel takes are refused',
    run: (runtime) => thrownBy(() => runtime.syscall(9999, 1, 2, 3, 4, 5, 6, 7)),
    expected: 'RangeError',
  },
  {
    name: 'an address leads to the bytes',
    run: (runtime) => {
      const number = numbersOf(runtime.arch)
      const pipe = new Uint8Array(8)
      runtime.syscall(number.pipe2, pipe, 0o2000000)
      const [reader = 0, , , , writer = 0] = pipe
      const bytes = textBytes('by address')
      runtime.syscall(number.write, writer, runtime.addressOf(bytes), bytes.length)
      const read = new Uint8Array(bytes.length)
      runtime.syscall(number.read, reader, read, read.length)
      for (const fd of [reader, writer]) runtime.syscall(number.close, fd)
      return readText(read)
    },
    expected: 'by address',
  },
  {
    name: 'of the attributes of a type the last counts, as a view, and a malformed one ends the list',
    run: ({ attribute }) => {
      // Types 7 with a flag, 5, 7 again, and one that is longer than what is left.
      const all = [
        [6, 0, 7, 0x80, 1, 2, 0, 0],
        [4, 0, 5, 0],
        [8, 0, 7, 0, 3, 4, 5, 6],
        [9, 0, 8, 0, 1],
      ].flat()
      const bytes = Uint8Array.from([0xff, 0xff, 0xff, ...all]).subarray(3)
      const found = [0, 8, 12, 20, bytes.length, 2 ** 32].map((at) =>
        [7, 5, 8].map((type) => attribute(bytes, at, type)),
      )
      bytes[16] = 9
      return [
        ...found.map((values) => values.map((value) => (value ? [...value] : null))),
        found[0]?.[0]?.byteOffset,
      ]
    },
    expected: [
      [[9, 4, 5, 6], [], null],
      [[9, 4, 5, 6], [], null],
      [[9, 4, 5, 6], null, null],
      [null, null, null],
      [null, null, null],
      [null, null, null],
      19,
    ],
  },
  {
    name: 'the hash is SHA-256, of the UTF-8, across the borders of blocks',
    run: ({ sha256 }) =>
      ['', 'abc', 'é', 'a'.repeat(55), 'a'.repeat(56), 'a'.repeat(64), 'a'.repeat(1000)].map(sha256),
    expected: [
      'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
      'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
      '4a99557e4033c3539de2eb65472017cad5f9557f7a0625a09f1c3f6e2ba69c4c',
      '9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318',
      'b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a',
      'ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb',
      '41edece42d63e8d9bf515a9ba6932e1c20cbc9f5a5d134645adb5db1b9737ea3',
    ],
  },
  {
    name: 'a program gets its environment and input, and its output and exit code come back',
    run: (runtime) =>
      shown(spawn(runtime, { path: script(runtime, 'cat; echo "$A-$B" "$#"; exit 3'), stdin: 'in é\n' })),
    expected: { end: 'exit', exitCode: 3, stdout: 'in é\na b-é 0\n' },
  },
  {
    name: 'a program gets the whole of a large environment',
    run: (runtime) => {
      const env = Object.fromEntries(Array.from({ length: 60 }, (_, i) => [`V${i}`, `${i}`.repeat(50)]))
      const end = spawn(runtime, { path: script(runtime, 'exec /usr/bin/env'), env })
      const lines = 'stdout' in end ? readText(end.stdout).split('\n') : []
      return Object.entries(env).filter(([key, value]) => !lines.includes(`${key}=${value}`))
    },
    expected: [],
  },
  {
    name: 'input and output larger than a pipe pass at the same time',
    run: (runtime) => {
      const end = spawn(runtime, { path: script(runtime, 'cat'), stdin: 'x'.repeat(300_000) })
      return end.end === 'exit' && end.stdout.length
    },
    expected: 300_000,
  },
  {
    name: 'a program may end without reading its input',
    run: (runtime) => shown(spawn(runtime, { path: script(runtime, 'exit 0'), stdin: 'x'.repeat(300_000) })),
    expected: { end: 'exit', exitCode: 0, stdout: '' },
  },
  {
    name: 'a signal that ended a program is told',
    run: (runtime) => shown(spawn(runtime, { path: script(runtime, 'echo half; kill -SEGV $$') })),
    expected: { end: 'signal', signal: 11, stdout: 'half\n' },
  },
  {
    name: 'a program finds SIGPIPE as it is by default',
    run: (runtime) => shown(spawn(runtime, { path: script(runtime, 'kill -PIPE $$; echo ignored') })),
    expected: { end: 'signal', signal: 13, stdout: '' },
  },
  {
    name: 'a program that cannot be started says why',
    run: (runtime) => [
      spawn(runtime, { path: '/none/such' }),
      spawn(runtime, { path: '/tmp' }),
      spawn(runtime, { path: script(runtime, 'exit', '#!/none/such\n') }),
    ],
    expected: [
      { end: 'notStarted', errno: ENOENT },
      { end: 'notStarted', errno: EACCES },
      { end: 'notStarted', errno: ENOENT },
    ],
  },
  {
    name: 'a program that takes too long is killed',
    run: (runtime) =>
      spawn(runtime, { path: script(runtime, 'trap "" TERM; exec sleep 30'), timeoutMs: 150 }),
    expected: { end: 'timeout' },
  },
  {
    name: 'a program that prints too much is killed',
    run: (runtime) => spawn(runtime, { path: script(runtime, 'exec yes'), maxOutputBytes: 5000 }),
    expected: { end: 'tooMuchOutput' },
  },
  {
    name: 'texts become UTF-8',
    run: () => ['abc', 'é€😀', 'a\ud800b', '\udc00'].map((text) => [...textBytes(text)]),
    expected: [
      [97, 98, 99],
      [0xc3, 0xa9, 0xe2, 0x82, 0xac, 0xf0, 0x9f, 0x98, 0x80],
      [97, 0xef, 0xbf, 0xbd, 98],
      [0xef, 0xbf, 0xbd],
    ],
  },
]

/** All cases as a runtime shows them; one that throws shows its error. */
export function runCases(runtime: Runtime): Record<string, unknown> {
  return Object.fromEntries(
    RUNTIME_CASES.map(({ name, run }) => {
      try {
        return [name, run(runtime)]
      } catch (error) {
        return [name, `threw ${String(error)}`]
      }
    }),
  )
}

function thrownBy(work: () => unknown): string {
  try {
    return `returned ${String(work())}`
  } catch (error) {
    return error instanceof Error ? error.name : 'something else'
  }
}

function spawn(runtime: Runtime, request: Partial<SpawnRequest> & { path: string }): SpawnEnd {
  const env = { PATH: '/usr/bin:/bin', A: 'a b', B: 'é' }
  return runtime.spawn({ env, stdin: '', timeoutMs: 20_000, maxOutputBytes: 1 << 20, ...request })
}

function shown(end: SpawnEnd): unknown {
  return 'stdout' in end ? { ...end, stdout: readText(end.stdout) } : end
}

/** Writes a shell script, and returns its path. */
function script(runtime: Runtime, text: string, head = '#!/bin/sh\n'): string {
  const number = numbersOf(runtime.arch)
  const path = '/tmp/runtime-contract.sh'
  runtime.syscall(number.unlinkat, AT_FDCWD, path, 0)
  const fd = runtime.syscall(number.openat, AT_FDCWD, path, O_CREAT_RDWR, 0o700)
  const bytes = textBytes(`${head}${text}\n`)
  runtime.syscall(number.write, fd, bytes, bytes.length)
  runtime.syscall(number.close, fd)
  return path
}
