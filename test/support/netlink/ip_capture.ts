import { execaSync } from 'execa'

const REQUEST_HEADER = 16
/** Of the message types in steps of four, the third asks a question (RTM_GETLINK and so on). */
const QUESTION = 2

/**
 * Runs a command of iproute2 under strace, and returns the last request to change something that it sent, as hex digits
 * with the sequence number set to 0. Whether the kernel granted it does not matter.
 */
export function captureRequest(command: string): string {
  const args = ['-e', 'trace=sendto,sendmsg', '-e', 'write=all', ...command.split(' ')]
  const { stderr: trace } = execaSync('strace', args, { reject: false })
  const requests = dumpsIn(trace).filter(isChange)
  const last = requests.at(-1)
  if (!last) throw new Error(`${command} sent no request; its trace:\n${trace}`)
  last.writeUInt32LE(0, 8)
  return last.toString('hex')
}

/** The buffers that strace dumps: lines of ` | offset  hex digits  text |`, each buffer from offset 0 on. */
function dumpsIn(trace: string): Buffer[] {
  const dumps: string[] = []
  for (const [, offset, hex = ''] of trace.matchAll(/^ \| ([0-9a-f]{5}) {2}((?:[0-9a-f]{2} {1,2})+)/gm)) {
    if (offset === '00000') dumps.push('')
    dumps.push((dumps.pop() ?? '') + hex.replaceAll(' ', ''))
  }
  return dumps.map((hex) => Buffer.from(hex, 'hex'))
}

/** iproute2 begins with an empty request, only to see whether the kernel checks strictly. */
function isChange(request: Buffer): boolean {
  const type = request.readUInt16LE(4)
  const isProbe = request.subarray(REQUEST_HEADER).every((byte) => byte === 0)
  return type % 4 !== QUESTION && !isProbe
}
