import { setTimeout as sleep } from 'node:timers/promises'
import type { Event, Node, Pod } from 'kubernetes-types/core/v1'

/** An object of the Kubernetes API. */
export type KubeObject = {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: {
    readonly name: string
    readonly namespace?: string
    readonly uid?: string
    readonly labels?: Readonly<Record<string, string>>
    readonly deletionTimestamp?: string
  }
  readonly [field: string]: unknown
}

/** As the API server returns objects: with these two parts. */
type Stored<T extends { spec?: unknown; status?: unknown }> = KubeObject & {
  readonly spec: NonNullable<T['spec']>
  readonly status: NonNullable<T['status']>
}
export type KubeNode = Stored<Node>
export type KubePod = Stored<Pod>

/** A refusal of the API server. */
export class ApiError extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

export type Api = {
  /** Sends a request. A text is sent as it is, anything else as JSON. Throws an `ApiError` unless it succeeds. */
  request<T>(method: string, path: string, body?: unknown, contentType?: string): Promise<T>
  /** Returns an object, or undefined if there is none: `find<KubePod>('Pod', 'web')`. */
  find<T extends KubeObject>(kind: string, name: string, namespace?: string): Promise<T | undefined>
  /** Returns all objects of a kind in all namespaces, or those with a label: `list<KubePod>('Pod', 'app=web')`. */
  list<T extends KubeObject>(kind: string, labels?: string): Promise<T[]>
  /** Creates or changes objects as `kubectl apply --server-side` does. A text is a YAML file with any number of them. */
  apply(manifest: string | KubeObject): Promise<void>
  /** Deletes what `apply` has created; objects that are gone are no error. Does not wait for the end of the objects. */
  remove(manifest: string | KubeObject): Promise<void>
  /** Returns the log of a pod's first container. */
  log(pod: KubePod): Promise<string>
  /** Runs a command in a pod's first container as `kubectl exec -t` does; returns what it prints. Throws if it fails. */
  exec(pod: KubePod, ...command: string[]): Promise<string>
  /** Polls until `check` returns something true; returns that. Throws with the latest events after `timeoutMs`. */
  until<T>(what: string, check: () => Promise<T | undefined | false>, timeoutMs?: number): Promise<T>
}

const POLL_MS = 50
const TIMEOUT_MS = 60_000
/** The API groups of the kinds that `find` and `list` know; objects that are applied name theirs. */
const API_VERSIONS: Readonly<Record<string, string>> = {
  DaemonSet: 'apps/v1',
  Deployment: 'apps/v1',
  ReplicaSet: 'apps/v1',
  ClusterRole: 'rbac.authorization.k8s.io/v1',
  ClusterRoleBinding: 'rbac.authorization.k8s.io/v1',
}
const WITHOUT_NAMESPACE =
  /^(Namespace|Node|PriorityClass|ClusterRole|ClusterRoleBinding|CustomResourceDefinition)$/

/** Creates a client of the API server at `url`, whose certificate `ca` has signed (PEM). */
export function createApi(url: string, ca: string, token: string): Api {
  const request = async <T>(
    method: string,
    path: string,
    body?: unknown,
    contentType = 'application/json',
  ) => {
    const response = await fetch(url + path, {
      method,
      tls: { ca },
      headers: { authorization: `Bearer ${token}`, 'content-type': contentType },
      ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    })
    const text = await response.text()
    if (!response.ok) throw new ApiError(response.status, `${method} ${path}: ${response.status} ${text}`)
    const isJson = response.headers.get('content-type')?.includes('json')
    return (isJson ? JSON.parse(text) : text) as T
  }
  const api: Api = {
    request,
    find: (kind, name, namespace) => ignoreMissing(request('GET', pathOf(reference(kind, name, namespace)))),
    list: async <T>(kind: string, labels?: string) => {
      const query = labels ? `?labelSelector=${encodeURIComponent(labels)}` : ''
      const { items } = await request<{ items: T[] }>('GET', `${collectionOf(kind)}${query}`)
      // The API server leaves these two out of lists.
      return items.map((item) => ({ ...item, apiVersion: API_VERSIONS[kind] ?? 'v1', kind }))
    },
    apply: async (manifest) => {
      for (const object of objectsIn(manifest)) {
        const path = `${pathOf(object)}?fieldManager=test&force=true`
        await request('PATCH', path, object, 'application/apply-patch+yaml')
      }
    },
    remove: async (manifest) => {
      for (const object of objectsIn(manifest)) await ignoreMissing(request('DELETE', pathOf(object)))
    },
    log: ({ metadata }) =>
      request('GET', `${pathOf(reference('Pod', metadata.name, metadata.namespace))}/log`),
    exec: ({ metadata }, ...command) => {
      const query = new URLSearchParams([
        ...['stdin', 'stdout', 'tty'].map((name) => [name, 'true']),
        ...command.map((word) => ['command', word]),
      ])
      const path = `${pathOf(reference('Pod', metadata.name, metadata.namespace))}/exec?${query}`
      return exec(`${url.replace('https', 'wss')}${path}`, ca, token)
    },
    until: (what, check, timeoutMs = TIMEOUT_MS) => until(api, what, check, timeoutMs),
  }
  return api
}

/** Channels of the protocol v5.channel.k8s.io: the first byte of each message. */
const CHANNELS = { stdin: 0, stdout: 1, status: 3, resize: 4 }
const SCREEN = { Width: 100, Height: 40 }

function exec(url: string, ca: string, token: string): Promise<string> {
  const options: Bun.WebSocketOptions = {
    headers: { authorization: `Bearer ${token}` },
    protocols: ['v5.channel.k8s.io'],
    tls: { ca },
  }
  // The types of the browser know no options.
  const socket = new WebSocket(url, options as never)
  socket.binaryType = 'arraybuffer'
  let output = ''
  return new Promise((resolve, reject) => {
    socket.onopen = () =>
      socket.send(new Uint8Array([CHANNELS.resize, ...new TextEncoder().encode(JSON.stringify(SCREEN))]))
    socket.onmessage = ({ data }) => {
      const [channel, ...bytes] = new Uint8Array(data as ArrayBuffer)
      const text = new TextDecoder().decode(new Uint8Array(bytes))
      if (channel === CHANNELS.stdout) output += text.replaceAll('\r', '')
      if (channel !== CHANNELS.status) return
      if (JSON.parse(text).status === 'Success') resolve(output)
      else reject(new Error(`${url}: ${text}\n${output}`))
      socket.close()
    }
    socket.onclose = ({ reason }) => reject(new Error(`${url}: ${reason}\n${output}`))
  })
}

async function until<T>(
  api: Api,
  what: string,
  check: () => Promise<T | undefined | false>,
  timeoutMs: number,
): Promise<T> {
  const deadline = Date.now() + timeoutMs
  let last: unknown
  while (Date.now() < deadline) {
    try {
      const found = await check()
      if (found) return found
    } catch (error) {
      last = error
    }
    await sleep(POLL_MS)
  }
  throw new Error(`${what}: not after ${timeoutMs} ms\n${last ?? ''}\n${await latestEvents(api)}`)
}

async function latestEvents(api: Api): Promise<string> {
  const { items } = await api.request<{ items: Event[] }>('GET', '/api/v1/events')
  return items
    .toSorted((a, b) => timeOf(a).localeCompare(timeOf(b)))
    .slice(-20)
    .map(
      ({ type, reason, message, involvedObject: { kind, name } }) =>
        `${type} ${kind}/${name} ${reason}: ${message}`,
    )
    .join('\n')
}

function timeOf({ lastTimestamp, eventTime }: Event): string {
  return lastTimestamp ?? eventTime ?? ''
}

function objectsIn(manifest: string | KubeObject): KubeObject[] {
  if (typeof manifest !== 'string') return [manifest]
  return [Bun.YAML.parse(manifest)].flat().filter(Boolean) as KubeObject[]
}

function reference(kind: string, name: string, namespace?: string): KubeObject {
  const apiVersion = API_VERSIONS[kind] ?? 'v1'
  return { apiVersion, kind, metadata: { name, ...(namespace && { namespace }) } }
}

function pathOf({ apiVersion, kind, metadata: { name, namespace = 'default' } }: KubeObject): string {
  return `${collectionOf(kind, apiVersion, WITHOUT_NAMESPACE.test(kind) ? undefined : namespace)}/${name}`
}

function collectionOf(kind: string, apiVersion = API_VERSIONS[kind] ?? 'v1', namespace?: string): string {
  const base = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`
  const plural = kind.toLowerCase().replace(/s$/, 'se').replace(/y$/, 'ie')
  return `${base}${namespace ? `/namespaces/${namespace}` : ''}/${plural}s`
}

async function ignoreMissing<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return undefined
    throw error
  }
}
