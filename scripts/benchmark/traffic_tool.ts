import { dlopen, FFIType } from 'bun:ffi'

/*
 * Makes and measures TCP traffic, by blocking calls of libc, one after another: what is found is what the kernel does.
 * A call by way of FFI costs a tenth of a microsecond, and a round trip twenty.
 *
 *   traffic_tool.ts CPU serve PORT                         until it is killed
 *   traffic_tool.ts CPU exchange ADDRESS PORT SECONDS      prints round trips per second, a byte each way
 *   traffic_tool.ts CPU stream ADDRESS PORT SECONDS        prints bytes per second of one stream
 *
 * CPU is the number of the processor to stay on, or `any`.
 */
const { symbols: libc } = dlopen('libc.so.6', {
  socket: { args: ['i32', 'i32', 'i32'], returns: 'i32' },
  setsockopt: { args: ['i32', 'i32', 'i32', 'buffer', 'u32'], returns: 'i32' },
  bind: { args: ['i32', 'buffer', 'u32'], returns: 'i32' },
  listen: { args: ['i32', 'i32'], returns: 'i32' },
  accept: { args: ['i32', 'u64', 'u64'], returns: 'i32' },
  connect: { args: ['i32', 'buffer', 'u32'], returns: 'i32' },
  send: { args: ['i32', 'buffer', 'buffer_length', 'i32'], returns: FFIType.i64_fast },
  recv: { args: ['i32', 'buffer', 'buffer_length', 'i32'], returns: FFIType.i64_fast },
  shutdown: { args: ['i32', 'i32'], returns: 'i32' },
  close: { args: ['i32'], returns: 'i32' },
  sched_setaffinity: { args: ['i32', 'u64', 'buffer'], returns: 'i32' },
})

const [AF_INET, SOCK_STREAM, IPPROTO_TCP, SOL_SOCKET] = [2, 1, 6, 1]
const [SO_REUSEADDR, SO_RCVTIMEO, SO_SNDTIMEO, TCP_NODELAY] = [2, 20, 21, 1]
const [SHUT_WR, MSG_NOSIGNAL] = [1, 0x4000]
/** The first byte that a client sends says what it is going to do. */
const [EXCHANGE, STREAM] = [1, 2]
/** The largest piece that is sent or received at once. */
const PIECE_BYTES = 128 << 10
/** Round trips or pieces between two looks at the clock. */
const UNTIL_LOOK = 16
/** Caches are warm and the congestion window is open then. */
const WARM_UP_SECONDS = 0.05
const CONNECT_MS = 5000
const CONNECT_PAUSE_MS = 10
/** How long a call may wait for the other end: seconds. */
const PATIENCE_SECONDS = 5

const YES = new Int32Array([1])
/** struct timeval: seconds and microseconds. */
const PATIENCE = new BigInt64Array([BigInt(PATIENCE_SECONDS), 0n])

const one = bytesOf(1)
const piece = bytesOf(PIECE_BYTES)

function main([cpu = 'any', command, ...args]: string[]): void {
  if (cpu !== 'any') stayOn(Number(cpu))
  if (command === 'serve') serve(Number(args[0]))
  const [address = '', port = '', seconds = ''] = args
  const socket = connect(address, Number(port))
  const measure = command === 'exchange' ? exchange : stream
  console.log(measure(socket, Number(seconds)))
}

function stayOn(cpu: number): void {
  const mask = bytesOf(128)
  mask[cpu >> 3] = 1 << (cpu & 7)
  checked(libc.sched_setaffinity(0, mask.length, mask), `staying on processor ${cpu}`)
}

/** Answers one client after another. */
function serve(port: number): never {
  const listener = checked(libc.socket(AF_INET, SOCK_STREAM, 0), 'socket')
  setOption(listener, SOL_SOCKET, SO_REUSEADDR)
  const any = socketAddress('0.0.0.0', port)
  checked(libc.bind(listener, any, any.length), 'bind')
  checked(libc.listen(listener, 1), 'listen')
  for (;;) {
    const client = checked(libc.accept(listener, 0, 0), 'accept')
    setOption(client, IPPROTO_TCP, TCP_NODELAY)
    if (receive(client, one) > 0) {
      if (one[0] === EXCHANGE) answerAll(client)
      else swallowAll(client)
    }
    libc.close(client)
  }
}

function answerAll(client: number): void {
  while (receive(client, one) > 0) send(client, one)
}

/** Takes all there is, then says that it has it. */
function swallowAll(client: number): void {
  while (receive(client, piece) > 0);
  send(client, one)
}

function exchange(socket: number, seconds: number): number {
  one[0] = EXCHANGE
  send(socket, one)
  const trip = () => {
    send(socket, one)
    if (receive(socket, one) <= 0) throw new Error('the server has ended the connection')
  }
  repeat(trip, WARM_UP_SECONDS)
  const { times, seconds: spent } = repeat(trip, seconds)
  return times / spent
}

/** Counts only what has arrived: until the server, which got all of it, says so. */
function stream(socket: number, seconds: number): number {
  one[0] = STREAM
  send(socket, one)
  repeat(() => send(socket, piece), WARM_UP_SECONDS)
  const started = Bun.nanoseconds()
  const { times } = repeat(() => send(socket, piece), seconds)
  libc.shutdown(socket, SHUT_WR)
  if (receive(socket, one) !== 1) throw new Error('the server has ended the connection')
  return (times * PIECE_BYTES * 1e9) / (Bun.nanoseconds() - started)
}

function repeat(work: () => void, seconds: number): { times: number; seconds: number } {
  const started = Bun.nanoseconds()
  for (let times = 0; ; ) {
    for (let i = 0; i < UNTIL_LOOK; i++) work()
    times += UNTIL_LOOK
    const spent = (Bun.nanoseconds() - started) / 1e9
    if (spent >= seconds) return { times, seconds: spent }
  }
}

/** The server may have been started a moment ago. */
function connect(address: string, port: number): number {
  const to = socketAddress(address, port)
  for (const deadline = performance.now() + CONNECT_MS; ; ) {
    const socket = checked(libc.socket(AF_INET, SOCK_STREAM, 0), 'socket')
    setOption(socket, IPPROTO_TCP, TCP_NODELAY)
    for (const option of [SO_SNDTIMEO, SO_RCVTIMEO]) setOption(socket, SOL_SOCKET, option, PATIENCE)
    if (libc.connect(socket, to, to.length) === 0) return socket
    libc.close(socket)
    if (performance.now() > deadline) throw new Error(`nobody answers on ${address}:${port}`)
    Bun.sleepSync(CONNECT_PAUSE_MS)
  }
}

function send(socket: number, bytes: Uint8Array): void {
  for (let rest = bytes; rest.length > 0; )
    rest = rest.subarray(checked(Number(libc.send(socket, rest, rest, MSG_NOSIGNAL)), 'send'))
}

function receive(socket: number, bytes: Uint8Array): number {
  return Number(libc.recv(socket, bytes, bytes, 0))
}

function setOption(
  socket: number,
  level: number,
  option: number,
  value: Int32Array | BigInt64Array = YES,
): void {
  checked(libc.setsockopt(socket, level, option, value, value.byteLength), 'setsockopt')
}

/** struct sockaddr_in: the family in the machine's order, port and address in the network's. */
function socketAddress(address: string, port: number): Uint8Array {
  const bytes = bytesOf(16)
  bytes.set([AF_INET, 0, port >> 8, port & 0xff, ...address.split('.').map(Number)])
  return bytes
}

function bytesOf(length: number): Uint8Array {
  return new Uint8Array(new ArrayBuffer(length))
}

function checked(returned: number, call: string): number {
  if (returned < 0) throw new Error(`${call} failed`)
  return returned
}

main(process.argv.slice(2))
