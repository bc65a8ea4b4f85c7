import { dlopen, FFIType } from 'bun:ffi'

/*
 * Makes and measures TCP traffic by blocking calls of libc, one after another, so that only the kernel's work is measured.
 *
 *   traffic_tool.ts serve                      until it is killed
 *   traffic_tool.ts exchange ADDRESS SECONDS   prints round trips per second, a byte each way
 *   traffic_tool.ts stream ADDRESS SECONDS     prints bytes per second of one stream
 */
const BUFFER = { args: ['i32', 'buffer', 'buffer_length', 'i32'], returns: FFIType.i64_fast } as const
const { symbols: libc } = dlopen('libc.so.6', {
  socket: { args: ['i32', 'i32', 'i32'], returns: 'i32' },
  setsockopt: { args: ['i32', 'i32', 'i32', 'buffer', 'u32'], returns: 'i32' },
  bind: { args: ['i32', 'buffer', 'u32'], returns: 'i32' },
  listen: { args: ['i32', 'i32'], returns: 'i32' },
  accept: { args: ['i32', 'u64', 'u64'], returns: 'i32' },
  connect: { args: ['i32', 'buffer', 'u32'], returns: 'i32' },
  send: BUFFER,
  recv: BUFFER,
  shutdown: { args: ['i32', 'i32'], returns: 'i32' },
})

const PORT = 5001
const [AF_INET, SOCK_STREAM, IPPROTO_TCP, TCP_NODELAY, SHUT_WR, MSG_NOSIGNAL] = [2, 1, 6, 1, 1, 0x4000]
/** The first byte of a client announces the kind of traffic. */
const [EXCHANGE, STREAM] = [1, 2]
/** After this time caches are warm and the congestion window is open. */
const WARM_UP_SECONDS = 0.05
const CONNECT_ATTEMPTS = 500

const one = new Uint8Array(new ArrayBuffer(1))
/** The largest piece that is sent or received at once. */
const piece = new Uint8Array(new ArrayBuffer(128 << 10))

const [command, address = '0.0.0.0', seconds = ''] = process.argv.slice(2)
if (command === 'serve') serve()
console.log((command === 'exchange' ? exchange : stream)(connect(), Number(seconds)))

/** Serves one client after another, and leaves their descriptors open. */
function serve(): never {
  const listener = libc.socket(AF_INET, SOCK_STREAM, 0)
  if (libc.bind(listener, socketAddress(), 16) < 0 || libc.listen(listener, 1) < 0) throw new Error('no port')
  for (;;) {
    const client = withoutDelay(libc.accept(listener, 0, 0))
    if (receive(client, one) <= 0) continue
    if (one[0] === EXCHANGE) while (receive(client, one) > 0) send(client, one)
    else {
      while (receive(client, piece) > 0);
      send(client, one)
    }
  }
}

function exchange(socket: number, time: number): number {
  one[0] = EXCHANGE
  send(socket, one)
  const trip = () => {
    send(socket, one)
    if (receive(socket, one) <= 0) throw new Error('the server has ended the connection')
  }
  repeat(trip, WARM_UP_SECONDS)
  return repeat(trip, time) / time
}

/** Measures until the server confirms that it has received everything. */
function stream(socket: number, time: number): number {
  one[0] = STREAM
  send(socket, one)
  const push = () => send(socket, piece)
  repeat(push, WARM_UP_SECONDS)
  const started = Bun.nanoseconds()
  const pieces = repeat(push, time)
  libc.shutdown(socket, SHUT_WR)
  if (receive(socket, one) !== 1) throw new Error('the server has ended the connection')
  return (pieces * piece.length * 1e9) / (Bun.nanoseconds() - started)
}

/** Returns how often `work` was done. */
function repeat(work: () => void, time: number): number {
  const end = Bun.nanoseconds() + time * 1e9
  let times = 0
  for (; Bun.nanoseconds() < end; times++) work()
  return times
}

/** Retries, as the server may not listen yet. */
function connect(): number {
  for (let attempt = 0; attempt < CONNECT_ATTEMPTS; attempt++) {
    const socket = withoutDelay(libc.socket(AF_INET, SOCK_STREAM, 0))
    if (libc.connect(socket, socketAddress(), 16) === 0) return socket
    Bun.sleepSync(10)
  }
  throw new Error(`nobody answers at ${address}`)
}

function withoutDelay(socket: number): number {
  libc.setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, new Int32Array([1]), 4)
  return socket
}

function send(socket: number, bytes: Uint8Array): void {
  for (let sent = 0; sent < bytes.length; ) {
    const rest = bytes.subarray(sent)
    const count = Number(libc.send(socket, rest, rest, MSG_NOSIGNAL))
    if (count < 0) throw new Error('send failed')
    sent += count
  }
}

function receive(socket: number, bytes: Uint8Array): number {
  return Number(libc.recv(socket, bytes, bytes, 0))
}

/** Returns struct sockaddr_in: the family in host byte order, port and address in network byte order. */
function socketAddress(): Uint8Array {
  const bytes = new Uint8Array(new ArrayBuffer(16))
  bytes.set([AF_INET, 0, PORT >> 8, PORT & 0xff, ...address.split('.').map(Number)])
  return bytes
}
