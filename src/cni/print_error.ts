import { Code, Fault } from '../core/errors.ts'

const MAX_MSG = 400
// Room for what CHECK has to say of a pod that has lost everything.
const MAX_DETAILS = 16_000
const MAX_CAUSES = 8
const MAX_FRAMES = 10

/**
 * The CNI error object for whatever was thrown: `msg` is the outermost action, `details` are the causes, the errno, the hint, and
 * where a fault of our own code was thrown. One line, bounded. Source: CNI specification 1.1.0, section 5.
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

/** The messages of an error and its causes, outermost first, without what `during` repeats of the cause. */
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

/** The functions and source lines that led to an exception that no code of ours threw on purpose; else nothing. */
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

/** 0 would say success. */
function codeOf(fault: Fault | undefined): number {
  return fault && Number.isInteger(fault.code) && fault.code > 0 ? fault.code : Code.internal
}

/**
 * On DEL, go-cni swallows an error that says "not found", and multus one that says "no such file or directory": the
 * pod would be gone for the runtime and its address leaked. So no message of ours says either.
 */
function clean(text: string, max: number): string {
  const line = text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\s]+/gu, ' ').trim()
  const safe = line
    .replace(/not found/gi, 'missing')
    .replace(/no such file or directory/gi, 'missing on disk')
  return safe.length > max ? `${safe.slice(0, max - 1)}…` : safe
}
