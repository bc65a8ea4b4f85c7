import { readFileSync } from 'node:fs'

/**
 * Both ends stay on one processor, the last: then a round trip takes as long as the kernel's work for it. Where the
 * scheduler chooses, it puts them on one or on two, and that alone is a factor of two or three.
 */
const PROCESSOR = /^Cpus_allowed_list:.*?(\d+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'
export const QPERF = `taskset -c ${PROCESSOR} qperf`
