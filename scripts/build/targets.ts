/**
 * What a program for each processor is compiled with. musl in place of glibc saves 0.2 ms of each start (glibc asks the processor
 * what it can, which is slow in a virtual machine); Debian has it for its own processor only.
 */
export const TARGETS = {
  x64: {
    compiler: 'musl-gcc',
    packages: { 'musl-gcc': 'musl-tools', gcc: 'gcc' },
    emulator: 'qemu-x86_64-static',
  },
  arm64: {
    compiler: 'aarch64-linux-gnu-gcc',
    packages: { 'aarch64-linux-gnu-gcc': 'gcc-aarch64-linux-gnu' },
    emulator: 'qemu-aarch64-static',
  },
} as const

export type Target = keyof typeof TARGETS

export function isTarget(text: string): text is Target {
  return Object.hasOwn(TARGETS, text)
}
