import { expect } from 'vitest'
import type { AttachmentRecord } from '../../src/attachment/record.ts'
import { parseRecord } from '../../src/attachment/record_format.ts'
import { Code } from '../../src/core/errors.ts'
import { deriveNames } from '../../src/core/names.ts'
import { DEFAULT_PATHS } from '../../src/plugin/ports.ts'
import { createFakeNode, type FakeAnswer, type FakeCall, type FakeNode } from '../fakes/node.ts'
import { gcConfig } from './fault_scenarios.ts'
import { addressesOf } from './node_expectations.ts'
import { addressOf, CAPACITY, EVERYBODY, nameOf, namesOf, netnsOf, networkConfigs } from './node_fixtures.ts'
import {
  type Attachment,
  type Call,
  CONTAINERS,
  describeCall,
  type Event,
  NETWORKS,
  type Network,
  type Script,
  type Topology,
} from './node_script.ts'

/** Plays a script on a node and holds every answer and every state against what must be. Throws when something is wrong. */
export function playScript({ topology, events }: Script): void {
  const play = new Play(topology)
  for (const event of events) {
    play.do(event)
    play.expectSound()
  }
  play.expectNothingLost()
}

type LiveAttachment = {
  readonly attachment: Attachment
  readonly answer: FakeAnswer
  readonly addresses: readonly string[]
}
/** How a call went: alone and undisturbed, with a fault at one of its steps, or while another ran. */
type Circumstance = 'alone' | 'with a fault' | 'with another call'

class Play {
  readonly #node: FakeNode = createFakeNode()
  readonly #configs: Record<Network, object>
  /** Attachments whose ADD has succeeded, and to which nothing has happened since: they must be whole at any time. */
  readonly #live = new Map<string, LiveAttachment>()
  /** Live attachments of which somebody has edited a file: they may have lost things, and a DEL must remove the rest. */
  readonly #edited = new Map<string, LiveAttachment>()

  #wasEdited = false

  constructor(topology: Topology) {
    this.#configs = networkConfigs(topology)
    this.#makePods()
  }

  do(event: Event): void {
    const bystanders = NETWORKS.filter((network) => !isAbout(event, network))
    const before = bystanders.map((network) => this.#traceOf(network))
    switch (event.is) {
      case 'call':
        this.#judge(event.call, this.#perform(event.call), 'alone')
        break
      case 'fault':
        this.#doWithFault(event)
        break
      case 'meeting':
        this.#doWithAnother(event)
        break
      case 'reboot':
        this.#node.reboot()
        this.#makePods()
        this.#live.clear()
        this.#edited.clear()
        break
      case 'restart':
        this.#restart(event.container)
        break
      case 'edit':
        this.#edit(event)
        break
    }
    expect(bystanders.map((network) => this.#traceOf(network))).toEqual(before)
  }

  expectSound(): void {
    for (const { attachment, answer } of this.#live.values()) {
      const { stdout } = this.#node.call('CHECK', this.#callOf(attachment, { prevResult: answer.json }))
      expect(stdout, `${nameOf(attachment)} is live`).toBe('')
    }
    for (const network of NETWORKS) {
      const addresses = this.#livesOn(network).flatMap((one) => one.addresses)
      expect(new Set(addresses).size, `addresses of ${network}: ${addresses}`).toBe(addresses.length)
    }
  }

  /** Removes everybody, then hands out every address once more. */
  expectNothingLost(): void {
    for (const attachment of EVERYBODY)
      this.#judge({ verb: 'DEL', ...attachment }, this.#perform({ verb: 'DEL', ...attachment }), 'alone')
    // After somebody has edited a file a DEL may not know what there was: GC finds it.
    if (this.#wasEdited) for (const network of NETWORKS) this.#perform({ verb: 'GC', network })
    expect(this.#residue()).toEqual([])
    const fillers = Array.from({ length: CAPACITY + 1 }, (_, i) => ({
      containerId: `f${i}`,
      netns: `/filler/${i}`,
    }))
    for (const { netns } of fillers) this.#node.kernel.makeNetns(netns)
    for (const network of NETWORKS) {
      const config = this.#configs[network]
      const answers = fillers.map((filler) => this.#node.call('ADD', { ...filler, config }))
      expect(
        answers.map(({ json }) => json['code']),
        `filling ${network}`,
      ).toEqual([...Array(CAPACITY), Code.poolExhausted])
      expect(new Set(answers.flatMap(addressesOf)).size).toBe(CAPACITY)
      for (const filler of fillers) this.#node.call('DEL', { ...filler, config })
    }
    expect(this.#residue()).toEqual([])
  }

  #doWithFault({ call, fault }: Extract<Event, { is: 'fault' }>): void {
    this.#node.stopAt(fault.at, fault.how, fault.phase)
    const answer = this.#perform(call)
    const came = !this.#node.isDue()
    this.#node.revive()
    // A process that was killed has told nobody anything.
    const heard = came && fault.how === 'SIGKILL' ? { ...answer, exitCode: 1 } : answer
    this.#judge(call, heard, came ? 'with a fault' : 'alone')
  }

  #doWithAnother({ call, at, other }: Extract<Event, { is: 'meeting' }>): void {
    const valid = [call, other].flatMap((one) => ('container' in one ? [one] : []))
    let inner: FakeAnswer | undefined
    this.#node.interruptAt(at, () => {
      inner = this.#perform(other, valid)
    })
    const outer = this.#perform(call, valid)
    this.#node.revive()
    if (inner) this.#judge(other, inner, 'with another call')
    // GC was told that both are valid, whether the other ran or not.
    this.#judge(call, outer, inner || call.verb === 'GC' ? 'with another call' : 'alone')
  }

  #judge(call: Call, answer: FakeAnswer, circumstance: Circumstance): void {
    const what = `${describeCall(call)} answered ${answer.stdout || 'nothing'}`
    // The other one has something locked. A DEL may have done a part of its work by then.
    if (circumstance === 'with another call' && answer.json['code'] === Code.tryLater) {
      if (call.verb === 'DEL') this.#forget(call)
      return
    }
    switch (call.verb) {
      case 'ADD':
        this.#judgeAdd(call, answer, circumstance, what)
        break
      case 'DEL':
        this.#forget(call)
        if (circumstance === 'with a fault') return
        expect(answer.exitCode, what).toBe(0)
        if (circumstance === 'alone') expect(this.#remainsOf(call), what).toEqual([])
        break
      case 'CHECK':
        if (circumstance === 'alone' && this.#live.has(nameOf(call))) expect(answer.exitCode, what).toBe(0)
        break
      case 'STATUS':
        if (answer.exitCode !== 0) this.#expectFull(call.network, what)
        break
      case 'GC':
        if (circumstance === 'with a fault') return
        expect(answer.exitCode, what).toBe(0)
        if (circumstance === 'alone') this.#expectOnlyLive(call.network, what)
    }
  }

  #judgeAdd(
    call: Extract<Call, { verb: 'ADD' }>,
    answer: FakeAnswer,
    circumstance: Circumstance,
    what: string,
  ): void {
    const key = nameOf(call)
    if (answer.exitCode === 0) {
      expect(this.#live.has(key), `${what}; it was live already`).toBe(false)
      const addresses = addressesOf(answer)
      if (call.ip !== undefined) expect(addresses, what).toEqual([addressOf(call.network, call.ip)])
      this.#live.set(key, { attachment: call, answer, addresses })
      this.#edited.delete(key)
      return
    }
    if (circumstance !== 'alone') return
    expect(this.#isExplained(call, Number(answer.json['code'])), what).toBe(true)
    if (answer.json['code'] === Code.poolExhausted) this.#expectFull(call.network, what)
  }

  /** Whether an undisturbed ADD may fail so. */
  #isExplained({ network, container, ifName, ip }: Extract<Call, { verb: 'ADD' }>, code: number): boolean {
    if ([...this.#edited.values()].some(({ attachment }) => attachment.network === network)) return true
    if (code === Code.interfaceExists) return this.#hasInterface(container, ifName)
    if (code === Code.poolExhausted) return true
    if (ip === undefined) return false
    if (code === Code.invalidConfig) return ip > CAPACITY + 1
    return (
      code === Code.addressInUse &&
      this.#leasesOf(network).some(([address]) => address === addressOf(network, ip))
    )
  }

  /** Every address is held, and by nobody of whom it is known that nothing can be left of him. */
  #expectFull(network: Network, what: string): void {
    const leases = this.#leasesOf(network)
    expect(leases.length, `${what}; leases: ${leases.join(', ')}`).toBe(CAPACITY)
    const former = this.#recordsOf(network).filter(({ bootId }) => bootId !== this.#node.kernel.bootId())
    expect(
      former.map(({ containerId }) => containerId),
      `${what}; of another boot`,
    ).toEqual([])
  }

  #expectOnlyLive(network: Network, what: string): void {
    const lives = this.#livesOn(network)
    const held = this.#leasesOf(network).map(([address]) => address)
    expect(
      lives.flatMap(({ addresses }) => addresses),
      what,
    ).toEqual(expect.arrayContaining(held))
    const keys = this.#recordsOf(network).map((record) => deriveNames(record).key)
    expect(
      lives.map(({ attachment }) => namesOf(attachment).key),
      what,
    ).toEqual(expect.arrayContaining(keys))
  }

  #perform(call: Call, alsoValid: readonly Attachment[] = []): FakeAnswer {
    if ('container' in call) {
      const { ip, ...attachment } = { ip: undefined, ...call }
      const args = ip === undefined ? '' : `IP=${addressOf(call.network, ip)}`
      const prevResult = this.#live.get(nameOf(attachment))?.answer.json ?? { cniVersion: '1.1.0' }
      return this.#node.call(call.verb, {
        ...this.#callOf(attachment, call.verb === 'CHECK' ? { prevResult } : {}),
        args,
      })
    }
    const config = this.#configs[call.network]
    const valid = [...this.#livesOn(call.network).map(({ attachment }) => attachment), ...alsoValid]
    const list = valid.map(({ container, ifName }) => ({ containerId: container, ifName }))
    return this.#node.call(call.verb, { config: call.verb === 'GC' ? gcConfig(config, ...list) : config })
  }

  #callOf({ network, container, ifName }: Attachment, more: object = {}): FakeCall {
    const config = { ...this.#configs[network], ...more }
    return { containerId: container, ifName, netns: netnsOf(container), config }
  }

  #makePods(): void {
    for (const container of CONTAINERS) this.#node.kernel.makeNetns(netnsOf(container))
  }

  #restart(container: Attachment['container']): void {
    this.#node.kernel.removeNetns(netnsOf(container))
    this.#node.kernel.makeNetns(netnsOf(container))
    const lives = [...this.#live.values(), ...this.#edited.values()]
    for (const { attachment } of lives) if (attachment.container === container) this.#forget(attachment)
  }

  #edit({ file, how, ...attachment }: Extract<Event, { is: 'edit' }>): void {
    const one = this.#live.get(nameOf(attachment))
    const [address = ''] = one?.addresses ?? []
    const paths = {
      lease: `${DEFAULT_PATHS.dataDir}/${attachment.network}/${address}`,
      record: `${DEFAULT_PATHS.recordsDir}/${attachment.network}/${namesOf(attachment).key}`,
      order: `${DEFAULT_PATHS.dataDir}/.bowline/${attachment.network}/order`,
    }
    const { files } = this.#node
    if (!(paths[file] in files.dump())) return
    files.remove(paths[file])
    if (how === 'empty') files.create(paths[file], '')
    this.#wasEdited = true
    // The order is worth nothing but for the order.
    if (!one || file === 'order') return
    this.#live.delete(nameOf(attachment))
    this.#edited.set(nameOf(attachment), one)
  }

  #forget(attachment: Attachment): void {
    this.#live.delete(nameOf(attachment))
    this.#edited.delete(nameOf(attachment))
  }

  #livesOn(network: Network): LiveAttachment[] {
    return [...this.#live.values(), ...this.#edited.values()].filter(
      ({ attachment }) => attachment.network === network,
    )
  }

  #leasesOf(network: Network): [address: string, text: string][] {
    const prefix = `${DEFAULT_PATHS.dataDir}/${network}/`
    return Object.entries(this.#node.files.dump()).flatMap(([path, text]) =>
      path.startsWith(prefix) && /^\d+(\.\d+){3}$/.test(path.slice(prefix.length)) && text !== ''
        ? [[path.slice(prefix.length), text]]
        : [],
    )
  }

  #recordsOf(network: Network): AttachmentRecord[] {
    const prefix = `${DEFAULT_PATHS.recordsDir}/${network}/`
    return Object.entries(this.#node.files.dump()).flatMap(([path, text]) =>
      path.startsWith(prefix) ? (parseRecord(text) ?? []) : [],
    )
  }

  #hasInterface(container: Attachment['container'], ifName: string): boolean {
    const pod = this.#node.kernel.dump().namespaces[netnsOf(container)]
    return pod?.links.some(({ name }) => name === ifName) ?? false
  }

  /** What is left of an attachment, in words. */
  #remainsOf(attachment: Attachment): string[] {
    const { key, hostIfName } = namesOf(attachment)
    const owner = `${attachment.container}\r\n${attachment.ifName}`
    const { host } = this.#node.kernel.dump()
    return [
      ...this.#leasesOf(attachment.network).flatMap(([address, text]) =>
        text === owner ? [`lease ${address}`] : [],
      ),
      ...Object.keys(this.#node.files.dump()).filter((path) =>
        path.endsWith(`/${attachment.network}/${key}`),
      ),
      ...host.links.filter(({ name }) => name === hostIfName).map(() => `link ${hostIfName}`),
    ]
  }

  /** Everything of one network, to the byte: files, masquerading, links. */
  #traceOf(network: Network): string {
    const { host, nft } = this.#node.kernel.dump()
    const ofNetwork = EVERYBODY.filter((attachment) => attachment.network === network)
    const names = ofNetwork.map((attachment) => namesOf(attachment).hostIfName)
    const files = Object.entries(this.#node.files.dump()).filter(([path]) => path.includes(`/${network}/`))
    const elements =
      JSON.stringify(nft).match(new RegExp(`"[0-9a-f]+":"[^"]* comment network ${network}"`, 'g')) ?? []
    const links = host.links.filter(({ name }) => names.includes(String(name)))
    return JSON.stringify({ files, elements, links }, undefined, 1)
  }

  /** Empty lease files are free addresses, which the next ADD or survey clears away. */
  #residue(): string[] {
    const files = this.#node.files.dump()
    return this.#node.residue().filter((left) => !(/\/\d+(\.\d+){3}$/.test(left) && files[left] === ''))
  }
}

function isAbout(event: Event, network: Network): boolean {
  if (event.is === 'reboot' || event.is === 'restart') return true
  if (event.is === 'edit') return event.network === network
  const calls = event.is === 'meeting' ? [event.call, event.other] : [event.call]
  return calls.some((call) => call.network === network)
}
