import { Code, Fault } from '../core/errors.ts'

const MAX_MSG = 400
// Room for all differences that CHECK finds at a pod that has lost everything.
const MAX_DETAILS = 16_000
const MAX_CAUSES = 8
const MAX_FRAMES = 10

/**
 * Returns the CNI error object for a thrown value: `msg` is the outermost action; `details` are the causes, the errno, the
 * hint, and the stack of an exception that is not a Fault. One line, bounded. Source: CNI specification 1.1.0, section 5.
 */
export function printError(error: unknown, cniVersion: string): string {
  const [msg = '', ...causes] = messagesOf(error)
  const fault = error instanceof Fault ? error : undefined
  const said = [msg, ...causes].join()
  const errno = fault?.errno && !said.includes(fault.errno) ? `(${fault.errno})` : ''
  const details = [causes.join(': '), errno].filter(Boolean).join(' ')
  const parts = [details, fault?.hint, traceOf(error)].filter(Boolean).join('. ')
  return JSON.stringify({
    cniVersion,
    code: codeOf(fault),
    msg: clean(msg || 'unknown error', MAX_MSG),
    ...(parts && { details: clean(parts, MAX_DETAILS) }),
  })
}

/** Returns the messages of an error and its causes, outermost first, without the part that `withAction` repeats. */
function messagesOf(error: unknown): string[] {
  const messages: string[] = []
  let current = error
  for (let depth = 0; depth < MAX_CAUSES && current !== undefined && current !== null; depth++) {
    const cause = current instanceof Error ? current.cause : undefined
    const [message, repeated] = [textOf(current), `: ${textOf(cause)}`]
    messages.push(cause && message.endsWith(repeated) ? message.slice(0, -repeated.length) : message)
    current = cause
  }
  return messages.filter((message, i) => message && (i === 0 || !messages[i - 1]?.includes(message)))
}

/** Returns the stack of an exception that is not a Fault; empty for a Fault. */
function traceOf(error: unknown): string {
  let current = error
  for (let depth = 0; depth < MAX_CAUSES && current instanceof Fault; depth++) current = current.cause
  if (!(current instanceof Error) || current instanceof Fault) return ''
  const frames = (current.stack ?? '').split('\n').filter((line) => line.trim().startsWith('at '))
  return frames
    .slice(0, MAX_FRAMES)
    .map((line) => line.trim())
    .join(', ')
}

function textOf(error: unknown): string {
  if (error instanceof Error) return error.message
  return typeof error === 'string' ? error : Object.prototype.toString.call(error)
}

/** Code 0 would mean success. */
function codeOf(fault: Fault | undefined): number {
  return fault && Number.isInteger(fault.code) && fault.code > 0 ? fault.code : Code.internal
}

/**
 * On DEL, go-cni ignores an error with "not found", and multus one with "no such file or directory": the runtime would
 * take the pod for removed, and its address would leak. So no message contains either.
 */
function clean(text: string, max: number): string {
  const line = text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\s]+/gu, ' ').trim()
  const safe = line
    .replace(/not found/gi, 'missing')
    .replace(/no such file or directory/gi, 'missing on disk')
  return safe.length > max ? `${safe.slice(0, max - 1)}…` : safe
}
