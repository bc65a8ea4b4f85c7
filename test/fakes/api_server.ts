import certificates from '../kube/fixtures/certificates.json' with { type: 'json' }

/** What a Node is made of, as far as the agent looks at it. */
export type FakeNodeObject = {
  readonly internalIps?: readonly string[]
  readonly podCIDRs?: readonly string[]
  readonly conditions?: readonly { readonly type: string; readonly status: string }[]
}

/** The certificates that the server can have. `old` and `new` are of two authorities. */
export type CertificateName = keyof typeof certificates

/** An API server over TLS that knows Nodes: list, watch, patch of the status; and everything that can go wrong with one. */
export type FakeApiServer = {
  readonly url: string
  /** Each request, such as `GET /api/v1/nodes`, with what was asked of a watch. */
  readonly requests: string[]
  /** How long each watch was to last, in seconds. */
  readonly timeouts: number[]
  /** The bodies of the patches, newest last. */
  readonly patches: unknown[]
  /** The token that is accepted. */
  token: string
  /** Answers that come before the real ones: the status of each. */
  readonly refusals: number[]
  /** What the header Date says, ahead of the clock of this process, in ms. */
  skewMs: number
  /** Makes or changes a Node; watchers are told. */
  setNode(name: string, node: FakeNodeObject): void
  removeNode(name: string): void
  node(name: string):
    | {
        readonly status?: {
          readonly conditions?: readonly { type: string; status: string; message?: string }[]
        }
      }
    | undefined
  /** Ends all watches as the server does after a while. */
  endWatches(): void
  /** Forgets all versions before now: a watch from one of them gets 410. */
  forgetVersions(): void
  /** The number of watches that are open. */
  watches(): number
  /** Stops, and starts again at the same address, perhaps with another certificate. */
  stop(): Promise<void>
  start(certificate?: CertificateName): void
}

export function authorityOf(name: CertificateName): string {
  return certificates[name].authority
}

type Watch = {
  readonly name: string | undefined
  readonly controller: ReadableStreamDefaultController<Uint8Array>
}
type Stored = Record<string, unknown> & {
  status?: {
    readonly conditions?: { readonly type: string; readonly status: string; readonly message?: string }[]
    readonly addresses?: readonly { readonly type: string; readonly address: string }[]
  }
}

export function createFakeApiServer(certificate: CertificateName = 'old'): FakeApiServer {
  return new ApiServer(certificate)
}

class ApiServer implements FakeApiServer {
  readonly requests: string[] = []
  readonly timeouts: number[] = []
  readonly patches: unknown[] = []
  readonly refusals: number[] = []
  token = 'first'
  skewMs = 0
  #version = 10
  #oldest = 0
  #port = 0
  #server: Bun.Server<undefined> | undefined
  readonly #nodes = new Map<string, Stored>()
  readonly #events: { readonly version: number; readonly type: string; readonly object: Stored }[] = []
  readonly #watches = new Set<Watch>()

  constructor(certificate: CertificateName) {
    this.start(certificate)
  }

  get url(): string {
    return `https://127.0.0.1:${this.#port}`
  }

  start(certificate: CertificateName = 'old'): void {
    const { key, cert } = certificates[certificate]
    this.#server = Bun.serve({
      hostname: '127.0.0.1',
      port: this.#port,
      tls: { key, cert },
      idleTimeout: 0,
      fetch: (request) => this.#answer(request),
    })
    this.#port = this.#server.port ?? 0
  }

  async stop(): Promise<void> {
    this.endWatches()
    await this.#server?.stop(true)
  }

  setNode(name: string, { podCIDRs, conditions, internalIps = [] }: FakeNodeObject): void {
    const type = this.#nodes.has(name) ? 'MODIFIED' : 'ADDED'
    this.#store(type, name, {
      metadata: { name },
      spec: podCIDRs ? { podCIDR: podCIDRs[0], podCIDRs } : {},
      status: {
        conditions: [...(conditions ?? [])],
        addresses: internalIps.map((address) => ({ type: 'InternalIP', address })),
      },
    })
  }

  removeNode(name: string): void {
    const object = this.#nodes.get(name)
    if (object) this.#store('DELETED', name, object)
    this.#nodes.delete(name)
  }

  node(name: string): Stored | undefined {
    return this.#nodes.get(name)
  }

  endWatches(): void {
    for (const { controller } of this.#watches) controller.close()
    this.#watches.clear()
  }

  forgetVersions(): void {
    this.#oldest = ++this.#version
  }

  watches(): number {
    return this.#watches.size
  }

  #store(type: string, name: string, object: Stored): void {
    const version = ++this.#version
    const stored = { ...object, metadata: { name, resourceVersion: `${version}` } }
    this.#nodes.set(name, stored)
    this.#events.push({ version, type, object: stored })
    for (const watch of this.#watches) this.#send(watch, name, type, stored)
  }

  #send({ name: wanted, controller }: Watch, name: string, type: string, object: unknown): void {
    if (wanted && wanted !== name) return
    const bytes = new TextEncoder().encode(`${JSON.stringify({ type, object })}\n`)
    // In two parts, as the network may have it.
    controller.enqueue(bytes.slice(0, 20))
    controller.enqueue(bytes.slice(20))
  }

  async #answer(request: Request): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url)
    const isWatch = searchParams.get('watch') === 'true'
    const from = isWatch ? ` from ${searchParams.get('resourceVersion')}` : ''
    this.requests.push(`${isWatch ? 'WATCH' : request.method} ${pathname}${from}`)
    if (isWatch) this.timeouts.push(Number(searchParams.get('timeoutSeconds')))
    const refusal = this.refusals.shift()
    if (refusal) return this.#status(refusal, 'as the test wants it')
    if (request.headers.get('authorization') !== `Bearer ${this.token}`)
      return this.#status(401, 'Unauthorized')
    if (request.method === 'PATCH') return this.#patch(pathname, await request.json())
    const name = searchParams.get('fieldSelector')?.split('=')[1]
    if (isWatch) return this.#watch(name, Number(searchParams.get('resourceVersion')))
    return this.#list(name, Number(searchParams.get('limit')), Number(searchParams.get('continue')))
  }

  #list(name: string | undefined, limit: number, from: number): Response {
    const all = [...this.#nodes].filter(([one]) => !name || one === name).map(([, object]) => object)
    const items = all.slice(from, from + (limit || all.length))
    const next = from + items.length
    const metadata = {
      resourceVersion: `${this.#version}`,
      ...(next < all.length && { continue: `${next}` }),
    }
    return this.#json(200, { kind: 'NodeList', metadata, items })
  }

  #watch(name: string | undefined, from: number): Response {
    if (from < this.#oldest) return this.#status(410, 'too old resource version')
    let watch: Watch | undefined
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        watch = { name, controller }
        this.#watches.add(watch)
        const bookmark = { metadata: { resourceVersion: `${this.#version}` } }
        for (const { version, type, object } of this.#events) {
          const node = (object['metadata'] as { name: string }).name
          if (version > from) this.#send(watch, node, type, object)
        }
        this.#send({ name: undefined, controller }, '', 'BOOKMARK', bookmark)
      },
      cancel: () => void (watch && this.#watches.delete(watch)),
    })
    return new Response(body, { headers: this.#headers() })
  }

  #patch(pathname: string, body: unknown): Response {
    const name = /^\/api\/v1\/nodes\/([^/]+)\/status$/.exec(pathname)?.[1] ?? ''
    const node = this.#nodes.get(name)
    if (!node) return this.#status(404, `nodes "${name}" not found`)
    this.patches.push(body)
    const { conditions = [] } = (body as Stored).status ?? {}
    const types = conditions.map(({ type }) => type)
    const kept = (node.status?.conditions ?? []).filter(({ type }) => !types.includes(type))
    this.#store('MODIFIED', name, {
      ...node,
      status: { ...node.status, conditions: [...kept, ...conditions] },
    })
    return this.#json(200, node)
  }

  #status(code: number, message: string): Response {
    return this.#json(code, { kind: 'Status', status: 'Failure', code, message })
  }

  #json(status: number, body: unknown): Response {
    return new Response(JSON.stringify(body), { status, headers: this.#headers() })
  }

  #headers(): Record<string, string> {
    return { 'Content-Type': 'application/json', Date: new Date(Date.now() + this.skewMs).toUTCString() }
  }
}
