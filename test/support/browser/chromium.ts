import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { until } from '../until.ts'

/*
 * A browser without a screen, driven by its own protocol over a WebSocket. Source: chromedevtools.github.io/devtools-protocol. It is started in
 * the network namespace of the test, so it reaches nothing but what the test serves.
 */

export type Page = {
  /** Loads an address, and resolves when its HTML has been read. */
  open(url: string): Promise<void>
  /** Returns the value of a JavaScript expression in the page. */
  evaluate<T>(expression: string): Promise<T>
  /** Sets the size of the window in CSS pixels, and whether the page is asked for its dark form. */
  show(width: number, height: number, scheme?: 'light' | 'dark'): Promise<void>
  /** Presses and releases a key, such as `ArrowRight` or `Tab`. */
  press(key: string): Promise<void>
  /** Writes a picture of the whole page. */
  screenshot(path: string): Promise<void>
  /** What the page has written to the console, and its errors. */
  readonly console: readonly string[]
  close(): Promise<void>
}

type Message = {
  readonly id?: number
  readonly method?: string
  readonly params?: Record<string, unknown>
  readonly result?: Record<string, unknown>
  readonly error?: { readonly message: string }
}

const FLAGS = [
  '--headless=new',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-dev-shm-usage',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--hide-scrollbars',
  '--remote-debugging-port=0',
]

/** Where it runs: a command that starts it there, and a function that makes a socket there. */
export type Whereabouts = { readonly prefix: readonly string[]; readonly within: <T>(work: () => T) => T }

const HERE: Whereabouts = { prefix: [], within: (work) => work() }

/** Starts Chromium with one page. */
export async function startChromium({ prefix, within } = HERE): Promise<Page> {
  const profile = mkdtempSync(join(tmpdir(), 'chromium-'))
  const child = Bun.spawn([...prefix, 'chromium', ...FLAGS, `--user-data-dir=${profile}`, 'about:blank'], {
    stdin: 'ignore',
    stdout: 'ignore',
    stderr: 'ignore',
  })
  const portFile = join(profile, 'DevToolsActivePort')
  await until(
    'the port of the browser',
    () => existsSync(portFile) && readFileSync(portFile, 'utf8').includes('\n'),
  )
  const [port] = readFileSync(portFile, 'utf8').split('\n')
  const list = [...prefix, 'curl', '-s', `http://127.0.0.1:${port}/json`]
  const targets = JSON.parse(Bun.spawnSync(list).stdout.toString()) as {
    type: string
    webSocketDebuggerUrl: string
  }[]
  const target = targets.find(({ type }) => type === 'page')
  if (!target) throw new Error('the browser has no page')
  const console: string[] = []
  const call = await connect(
    within(() => new WebSocket(target.webSocketDebuggerUrl)),
    console,
  )
  for (const domain of ['Page', 'Runtime', 'Log']) await call(`${domain}.enable`)
  return pageOver(call, console, async () => {
    child.kill()
    await child.exited
    rmSync(profile, { recursive: true, force: true })
  })
}

type Call = (method: string, params?: object) => Promise<Record<string, unknown>>

async function connect(socket: WebSocket, console: string[]): Promise<Call> {
  const waiting = new Map<number, (message: Message) => void>()
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(String(data)) as Message
    if (message.id !== undefined) waiting.get(message.id)?.(message)
    if (/consoleAPICalled|exceptionThrown|entryAdded/.test(message.method ?? ''))
      console.push(JSON.stringify(message.params))
  }
  await new Promise((resolve, reject) => {
    socket.onopen = resolve
    socket.onerror = reject
  })
  let last = 0
  return (method, params = {}) =>
    new Promise((resolve, reject) => {
      const id = ++last
      waiting.set(id, ({ result = {}, error }) => {
        waiting.delete(id)
        if (error) reject(new Error(`${method}: ${error.message}`))
        else resolve(result)
      })
      socket.send(JSON.stringify({ id, method, params }))
    })
}

function pageOver(call: Call, console: readonly string[], close: () => Promise<void>): Page {
  const evaluate = async <T>(expression: string): Promise<T> => {
    const parameters = { expression, returnByValue: true, awaitPromise: true }
    const { result, exceptionDetails } = await call('Runtime.evaluate', parameters)
    if (exceptionDetails) throw new Error(JSON.stringify(exceptionDetails))
    return (result as { value: T }).value
  }
  return {
    console,
    close,
    evaluate,
    async open(url) {
      await call('Page.navigate', { url })
      for (let round = 0; round < 500; round++) {
        const isThere = `document.readyState !== 'loading' && location.href === ${JSON.stringify(url)}`
        if (await evaluate<boolean>(isThere)) return
        await Bun.sleep(10)
      }
      throw new Error(`${url} was not loaded`)
    },
    async show(width, height, scheme = 'light') {
      await call('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: false })
      await call('Emulation.setEmulatedMedia', {
        features: [{ name: 'prefers-color-scheme', value: scheme }],
      })
    },
    async press(key) {
      for (const type of ['keyDown', 'keyUp']) await call('Input.dispatchKeyEvent', { type, key, code: key })
    },
    async screenshot(path) {
      const { data } = await call('Page.captureScreenshot', { format: 'png', captureBeyondViewport: true })
      writeFileSync(path, Buffer.from(String(data), 'base64'))
    },
  }
}
