import { once } from 'node:events'
import { execa } from 'execa'
import type { PeerProgram } from './peer_program.ts'
import { type Netns, runIn } from './sandbox.ts'

/*
 * Servers and clients of TCP, UDP and SCTP. SCTP is made by hand on a raw socket, as a kernel may lack it: a client sends INIT, and takes
 * an INIT ACK of the port that it has asked for the answer, whose checksum must be right after each translation of a port.
 */
export type Transport = 'tcp' | 'udp' | 'sctp'

export const TRANSPORTS: readonly Transport[] = ['tcp', 'udp', 'sctp']

export type Question = {
  readonly transport: Transport
  readonly address: string
  readonly port: number
  /** The client's own address and port; any if left out. */
  readonly from?: string
  readonly fromPort?: number
  readonly timeoutMs?: number
}

/** Starts servers at a port of every transport, for both families. They answer `NAME CLIENT`: their name, and the client's address as they see it. */
export async function startServers(
  netns: Netns | undefined,
  port: number,
  name: string,
): Promise<PeerProgram> {
  const prefix = netns ? ['nsenter', `--net=${netns.path}`, '--'] : []
  const [program = '', ...args] = [...prefix, ...serverCommand(port, name)]
  const server = execa(program, args, { reject: false, killSignal: 'SIGKILL', cwd: '/' })
  await Promise.race([once(server.stdout, 'data'), server])
  if (server.exitCode !== null) throw new Error(`the servers did not start: ${(await server).stderr}`)
  return {
    async stop() {
      server.kill('SIGKILL')
      await server
    },
  }
}

/** Asks all questions at once. Returns what was answered: '' for nothing, `refused` where the other side says no. */
export async function ask(netns: Netns | undefined, questions: readonly Question[]): Promise<string[]> {
  return JSON.parse(await runIn(netns, ...askCommand(questions))) as string[]
}

/** The command of `startServers`, to be run where only a program can get. */
export function serverCommand(port: number, name: string): [program: string, ...args: string[]] {
  return ['python3', '-c', PROGRAM, 'serve', `${port}`, name]
}

/** The command of `ask`, which prints its answers as JSON. */
export function askCommand(questions: readonly Question[]): [program: string, ...args: string[]] {
  return ['python3', '-c', PROGRAM, 'ask', JSON.stringify(questions)]
}

const PROGRAM = `
import json, os, socket, struct, sys, threading

TABLE = []
for i in range(256):
    for _ in range(8): i = (i >> 1) ^ (0x82F63B78 if i & 1 else 0)
    TABLE.append(i)

def sum_of(packet):
    crc = 0xFFFFFFFF
    for byte in packet[:8] + bytes(4) + packet[12:]: crc = TABLE[(crc ^ byte) & 255] ^ (crc >> 8)
    return struct.pack('<I', crc ^ 0xFFFFFFFF)

def sctp(source, target, tag, kind, text=b''):
    body = struct.pack('!IIHHI', 7, 65536, 1, 1, 1) + struct.pack('!HH', 0xC000, 4 + len(text)) + text
    body += bytes(-len(body) % 4)
    packet = struct.pack('!HHI', source, target, tag) + bytes(4) + struct.pack('!BBH', kind, 0, 4 + len(body)) + body
    return packet[:8] + sum_of(packet) + packet[12:]

def read_sctp(family, data):
    packet = data[(data[0] & 15) * 4:] if family == socket.AF_INET else data
    source, target = struct.unpack('!HH', packet[:4])
    length, = struct.unpack('!H', packet[34:36])
    return source, target, packet[12], packet[36:32 + length], packet[8:12] == sum_of(packet)

def plain(address): return address.replace('::ffff:', '')

def serve(port, name):
    def answer(client): return (name + ' ' + plain(client[0])).encode()
    tcp = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    tcp.bind(('::', port)); tcp.listen(100)
    def each(work):
        while True: work()
    def one_tcp():
        link, client = tcp.accept()
        def talk():
            while link.recv(64): link.sendall(answer(client))
        threading.Thread(target=talk, daemon=True).start()
    jobs = [one_tcp]
    for family, address in ((socket.AF_INET, '0.0.0.0'), (socket.AF_INET6, '::')):
        udp = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6: udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        udp.bind((address, port))
        def one_udp(udp=udp):
            _, client = udp.recvfrom(64)
            udp.sendto(answer(client), client)
        raw = socket.socket(family, socket.SOCK_RAW, 132)
        def one_sctp(raw=raw, family=family):
            data, client = raw.recvfrom(2048)
            source, target, kind, _, sound = read_sctp(family, data)
            if sound and kind == 1 and target == port: raw.sendto(sctp(port, source, 7, 2, answer(client)), (client[0], 0))
        jobs += [one_udp, one_sctp]
    for job in jobs: threading.Thread(target=each, args=(job,), daemon=True).start()
    print('listening', flush=True)
    threading.Event().wait()

def ask(question):
    address, port, transport = question['address'], question['port'], question['transport']
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    kinds = {'tcp': (socket.SOCK_STREAM, 0), 'udp': (socket.SOCK_DGRAM, 0), 'sctp': (socket.SOCK_RAW, 132)}
    end = socket.socket(family, *kinds[transport])
    end.settimeout(question.get('timeoutMs', 3000) / 1000)
    if transport == 'tcp': end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    own = question.get('fromPort', 0)
    if 'from' in question or (own and transport != 'sctp'): end.bind((question.get('from', ''), 0 if transport == 'sctp' else own))
    try:
        if transport == 'sctp':
            own = own or 20000 + int.from_bytes(os.urandom(2), 'big') % 10000
            end.sendto(sctp(own, port, 0, 1), (address, 0))
            while True:
                data, _ = end.recvfrom(2048)
                source, target, kind, text, sound = read_sctp(family, data)
                if kind == 2 and (source, target) == (port, own): return text.decode() if sound else 'wrong checksum'
        end.connect((address, port))
        end.send(b'?')
        return end.recv(64).decode()
    except socket.timeout: return ''
    except OSError as error: return 'refused' if error.errno == 111 else str(error)

if sys.argv[1] == 'serve': serve(int(sys.argv[2]), sys.argv[3])
questions = json.loads(sys.argv[2])
answers = [''] * len(questions)
def work(i): answers[i] = ask(questions[i])
threads = [threading.Thread(target=work, args=(i,)) for i in range(len(questions))]
for one in threads: one.start()
for one in threads: one.join()
print(json.dumps(answers))
`
