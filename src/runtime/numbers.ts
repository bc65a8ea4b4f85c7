import type { Runtime } from './runtime.ts'

const BY_ARCH = { x64: numbersAt(0), arm64: numbersAt(1) }

export type Numbers = ReturnType<typeof numbersAt>

export function numbersOf(arch: Runtime['arch']): Numbers {
  return BY_ARCH[arch]
}

/** Numbers of system calls on x86-64 and arm64. Source: asm/unistd_64.h of x86-64, asm-generic/unistd.h (arm64). */
function numbersAt(column: 0 | 1) {
  const numbers = {
    read: [0, 63],
    write: [1, 64],
    close: [3, 57],
    rt_sigaction: [13, 134],
    ioctl: [16, 29],
    pread64: [17, 67],
    pwrite64: [18, 68],
    nanosleep: [35, 101],
    getpid: [39, 172],
    socket: [41, 198],
    connect: [42, 203],
    sendto: [44, 206],
    recvfrom: [45, 207],
    recvmsg: [47, 212],
    bind: [49, 200],
    setsockopt: [54, 208],
    getsockopt: [55, 209],
    clone: [56, 220],
    execve: [59, 221],
    wait4: [61, 260],
    kill: [62, 129],
    fcntl: [72, 25],
    flock: [73, 32],
    fsync: [74, 82],
    fchmod: [91, 52],
    geteuid: [107, 175],
    getxattr: [191, 8],
    getdents64: [217, 61],
    clock_gettime: [228, 113],
    exit_group: [231, 94],
    openat: [257, 56],
    mkdirat: [258, 34],
    unlinkat: [263, 35],
    renameat: [264, 38],
    linkat: [265, 37],
    symlinkat: [266, 36],
    fstatfs: [138, 44],
    ppoll: [271, 73],
    dup3: [292, 24],
    pipe2: [293, 59],
    setns: [308, 268],
    statx: [332, 291],
  } as const
  return Object.fromEntries(Object.entries(numbers).map(([name, pair]) => [name, pair[column]])) as Readonly<
    Record<keyof typeof numbers, number>
  >
}
