/**
 * The compiler for each processor, and the emulator that runs such a program elsewhere. musl saves 0.2 ms of each start, as
 * glibc asks the processor what it can, which is slow in a virtual machine; Debian has musl for its own processor only.
 */
export const TARGETS = {
  x64: { compiler: 'musl-gcc', emulator: 'qemu-x86_64-static' },
  arm64: { compiler: 'aarch64-linux-gnu-gcc', emulator: 'qemu-aarch64-static' },
} as const

export type Target = keyof typeof TARGETS

export const NATIVE: Target = process.arch === 'arm64' ? 'arm64' : 'x64'

export function isTarget(text: string): text is Target {
  return Object.hasOwn(TARGETS, text)
}
