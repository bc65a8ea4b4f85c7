import { Code, Fault } from '../core/errors.ts'
import type { ApiErrno } from './api.ts'

const HINTS: Readonly<Record<ApiErrno, string>> = {
  unreachable:
    'See that the API server runs and can be reached from this node; without kube-proxy its Service address cannot: set KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT in the DaemonSet.',
  timeout: 'See whether something drops packets between this node and the API server.',
  certificate:
    "The server's certificate is not signed by the authority in ca.crt of the service account: after a rotation it takes a minute until that file is new.",
  clock: "Compare the clock of this node with the server's (date -u), and let NTP set it.",
  unauthorized:
    'The token of the service account is not accepted: it is read anew for each request; see that the clock of this node is right and that the ServiceAccount exists.',
  forbidden: 'Apply the ClusterRole and ClusterRoleBinding of conf/bowline.yaml.',
  missing:
    'See that NODE_NAME is the name of the node (kubectl get nodes), and that the kubelet has registered it.',
  expired: 'Nothing is to be done: the list is read again.',
  busy: 'Nothing is to be done: the server is overloaded, and asked again later.',
  broken: "Look into the API server's log.",
}

/** Returns a fault with the hint of its kind. */
export function apiFault(action: string, errno: ApiErrno, why: string, cause?: unknown): Fault {
  return new Fault(`${action}: ${why}`, { code: Code.tryLater, errno, hint: HINTS[errno], cause })
}

/** Returns the fault for an answer that reports a failure. `text` is its body: a Status object, or anything else. */
export function statusFault(action: string, status: number, text: string): Fault {
  return apiFault(
    action,
    STATUSES[status] ?? (status >= 500 ? 'busy' : 'broken'),
    `${status} ${messageOf(text)}`,
  )
}

/** Returns the fault for a request without an answer. */
export function connectionFault(action: string, error: unknown): Fault {
  if (error instanceof Fault) return error
  const {
    name = '',
    code = '',
    message = String(error),
  } = error as { name?: string; code?: string; message?: string }
  if (CLOCK.test(code)) return apiFault(action, 'clock', `${code} by the clock of this node`, error)
  if (CERTIFICATE.test(code)) return apiFault(action, 'certificate', code, error)
  if (/Timeout/i.test(name + code)) return apiFault(action, 'timeout', 'no answer in time', error)
  return apiFault(action, 'unreachable', code || message, error)
}

const STATUSES: Readonly<Record<number, ApiErrno>> = {
  401: 'unauthorized',
  403: 'forbidden',
  404: 'missing',
  410: 'expired',
  429: 'busy',
}
/** OpenSSL's names for a certificate whose dates do not fit the clock, and for other errors of TLS. */
const CLOCK = /^CERT_(NOT_YET_VALID|HAS_EXPIRED)$/
const CERTIFICATE = /CERT|SIGNATURE|ISSUER|TLS|SSL/

function messageOf(text: string): string {
  try {
    return String((JSON.parse(text) as { message?: unknown }).message ?? '')
  } catch {
    return text.slice(0, 200)
  }
}
