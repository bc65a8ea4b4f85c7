import { expect } from 'vitest'
import type { AttachmentRecord } from '../../src/attachment/record.ts'
import { parseRecord } from '../../src/attachment/record_format.ts'
import { Code } from '../../src/core/errors.ts'
import { deriveNames } from '../../src/core/names.ts'
import { DEFAULT_PATHS } from '../../src/plugin/ports.ts'
import { createFakeNode, type FakeAnswer, type FakeCall, type FakeNode } from '../fakes/node.ts'
import { gcConfig } from './fault_scenarios.ts'
import { addressesOf } from './node_expectations.ts'
import { addressOf, CAPACITY, EVERYBODY, nameOf, namesOf, netnsOf, worldConfigs } from './node_fixtures.ts'
import {
  type Call,
  CONTAINERS,
  describeCall,
  type Event,
  NETWORKS,
  type Network,
  type Script,
  type Who,
  type World,
} from './node_script.ts'

/** Plays a script on a node and holds every answer and every state against what must be. Throws when something is wrong. */
export function playScript({ world, events }: Script): void {
  const play = new Play(world)
  for (const event of events) {
    play.do(event)
    play.expectSound()
  }
  play.expectNothingLost()
}

type Lively = { readonly who: Who; readonly answer: FakeAnswer; readonly addresses: readonly string[] }
/** How a call went: alone and undisturbed, disturbed by trouble at one of its steps, or while another ran. */
type Circumstance = 'alone' | 'in trouble' | 'in company'

class Play {
  readonly #node: FakeNode = createFakeNode()
  readonly #configs: Record<Network, object>
  /** Whose ADD has succeeded, and to whom nothing has happened since: they must be whole at any time. */
  readonly #live = new Map<string, Lively>()
  /** Live ones in whose files somebody's hand has been: what they have may be lost, but must go with a DEL. */
  readonly #touched = new Map<string, Lively>()

  #hasTampered = false

  constructor(world: World) {
    this.#configs = worldConfigs(world)
    this.#makePods()
  }

  do(event: Event): void {
    const bystanders = NETWORKS.filter((network) => !isAbout(event, network))
    const before = bystanders.map((network) => this.#traceOf(network))
    switch (event.is) {
      case 'call':
        this.#judge(event.call, this.#perform(event.call), 'alone')
        break
      case 'trouble':
        this.#doInTrouble(event)
        break
      case 'meeting':
        this.#doInCompany(event)
        break
      case 'reboot':
        this.#node.reboot()
        this.#makePods()
        this.#live.clear()
        this.#touched.clear()
        break
      case 'restart':
        this.#restart(event.container)
        break
      case 'tampering':
        this.#tamper(event)
        break
    }
    expect(bystanders.map((network) => this.#traceOf(network))).toEqual(before)
  }

  expectSound(): void {
    for (const { who, answer } of this.#live.values()) {
      const { stdout } = this.#node.call('CHECK', this.#callOf(who, { prevResult: answer.json }))
      expect(stdout, `${nameOf(who)} is live`).toBe('')
    }
    for (const network of NETWORKS) {
      const addresses = this.#livesOn(network).flatMap((one) => one.addresses)
      expect(new Set(addresses).size, `addresses of ${network}: ${addresses}`).toBe(addresses.length)
    }
  }

  /** Removes everybody, then hands out every address once more. */
  expectNothingLost(): void {
    for (const who of EVERYBODY)
      this.#judge({ verb: 'DEL', ...who }, this.#perform({ verb: 'DEL', ...who }), 'alone')
    // Where somebody's hand has been, a DEL may not know any more what there was: that is found by GC.
    if (this.#hasTampered) for (const network of NETWORKS) this.#perform({ verb: 'GC', network })
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

  #doInTrouble({ call, trouble }: Extract<Event, { is: 'trouble' }>): void {
    this.#node.stopAt(trouble.at, trouble.how, trouble.phase)
    const answer = this.#perform(call)
    const came = !this.#node.isDue()
    this.#node.revive()
    // A process that was killed has told nobody anything.
    const heard = came && trouble.how === 'SIGKILL' ? { ...answer, exitCode: 1 } : answer
    this.#judge(call, heard, came ? 'in trouble' : 'alone')
  }

  #doInCompany({ call, at, other }: Extract<Event, { is: 'meeting' }>): void {
    const valid = [call, other].flatMap((one) => ('container' in one ? [one] : []))
    let inner: FakeAnswer | undefined
    this.#node.interruptAt(at, () => {
      inner = this.#perform(other, valid)
    })
    const outer = this.#perform(call, valid)
    this.#node.revive()
    if (inner) this.#judge(other, inner, 'in company')
    // GC was told that both are valid, whether the other ran or not.
    this.#judge(call, outer, inner || call.verb === 'GC' ? 'in company' : 'alone')
  }

  #judge(call: Call, answer: FakeAnswer, circumstance: Circumstance): void {
    const what = `${describeCall(call)} answered ${answer.stdout || 'nothing'}`
    // The other one has something locked. A DEL may have done a part of its work by then.
    if (circumstance === 'in company' && answer.json['code'] === Code.tryLater) {
      if (call.verb === 'DEL') this.#forget(call)
      return
    }
    switch (call.verb) {
      case 'ADD':
        this.#judgeAdd(call, answer, circumstance, what)
        break
      case 'DEL':
        this.#forget(call)
        if (circumstance === 'in trouble') return
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
        if (circumstance === 'in trouble') return
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
      this.#live.set(key, { who: call, answer, addresses })
      this.#touched.delete(key)
      return
    }
    if (circumstance !== 'alone') return
    expect(this.#isExplained(call, Number(answer.json['code'])), what).toBe(true)
    if (answer.json['code'] === Code.poolExhausted) this.#expectFull(call.network, what)
  }

  /** Whether an undisturbed ADD may fail so. */
  #isExplained({ network, container, ifName, ip }: Extract<Call, { verb: 'ADD' }>, code: number): boolean {
    if ([...this.#touched.values()].some(({ who }) => who.network === network)) return true
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
      lives.map(({ who }) => namesOf(who).key),
      what,
    ).toEqual(expect.arrayContaining(keys))
  }

  #perform(call: Call, alsoValid: readonly Who[] = []): FakeAnswer {
    if ('container' in call) {
      const { ip, ...who } = { ip: undefined, ...call }
      const args = ip === undefined ? '' : `IP=${addressOf(call.network, ip)}`
      const prevResult = this.#live.get(nameOf(who))?.answer.json ?? { cniVersion: '1.1.0' }
      return this.#node.call(call.verb, {
        ...this.#callOf(who, call.verb === 'CHECK' ? { prevResult } : {}),
        args,
      })
    }
    const config = this.#configs[call.network]
    const valid = [...this.#livesOn(call.network).map(({ who }) => who), ...alsoValid]
    const list = valid.map(({ container, ifName }) => ({ containerId: container, ifName }))
    return this.#node.call(call.verb, { config: call.verb === 'GC' ? gcConfig(config, ...list) : config })
  }

  #callOf({ network, container, ifName }: Who, more: object = {}): FakeCall {
    const config = { ...this.#configs[network], ...more }
    return { containerId: container, ifName, netns: netnsOf(container), config }
  }

  #makePods(): void {
    for (const container of CONTAINERS) this.#node.kernel.makeNetns(netnsOf(container))
  }

  #restart(container: Who['container']): void {
    this.#node.kernel.removeNetns(netnsOf(container))
    this.#node.kernel.makeNetns(netnsOf(container))
    const lives = [...this.#live.values(), ...this.#touched.values()]
    for (const { who } of lives) if (who.container === container) this.#forget(who)
  }

  #tamper({ file, how, ...who }: Extract<Event, { is: 'tampering' }>): void {
    const one = this.#live.get(nameOf(who))
    const [address = ''] = one?.addresses ?? []
    const paths = {
      lease: `${DEFAULT_PATHS.dataDir}/${who.network}/${address}`,
      record: `${DEFAULT_PATHS.recordsDir}/${who.network}/${namesOf(who).key}`,
      order: `${DEFAULT_PATHS.dataDir}/.bowline/${who.network}/order`,
    }
    const { files } = this.#node
    if (!(paths[file] in files.dump())) return
    files.remove(paths[file])
    if (how === 'empty') files.create(paths[file], '')
    this.#hasTampered = true
    // The order is worth nothing but for the order.
    if (!one || file === 'order') return
    this.#live.delete(nameOf(who))
    this.#touched.set(nameOf(who), one)
  }

  #forget(who: Who): void {
    this.#live.delete(nameOf(who))
    this.#touched.delete(nameOf(who))
  }

  #livesOn(network: Network): Lively[] {
    return [...this.#live.values(), ...this.#touched.values()].filter(({ who }) => who.network === network)
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

  #hasInterface(container: Who['container'], ifName: string): boolean {
    const pod = this.#node.kernel.dump().namespaces[netnsOf(container)]
    return pod?.links.some(({ name }) => name === ifName) ?? false
  }

  /** What is left of an attachment, in words. */
  #remainsOf(who: Who): string[] {
    const { key, hostIfName } = namesOf(who)
    const owner = `${who.container}\r\n${who.ifName}`
    const { host } = this.#node.kernel.dump()
    return [
      ...this.#leasesOf(who.network).flatMap(([address, text]) =>
        text === owner ? [`lease ${address}`] : [],
      ),
      ...Object.keys(this.#node.files.dump()).filter((path) => path.endsWith(`/${who.network}/${key}`)),
      ...host.links.filter(({ name }) => name === hostIfName).map(() => `link ${hostIfName}`),
    ]
  }

  /** Everything of one network, to the byte: files, masquerading, links. */
  #traceOf(network: Network): string {
    const { host, nft } = this.#node.kernel.dump()
    const ofNetwork = EVERYBODY.filter((who) => who.network === network)
    const names = ofNetwork.map((who) => namesOf(who).hostIfName)
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
  if (event.is === 'tampering') return event.network === network
  const calls = event.is === 'meeting' ? [event.call, event.other] : [event.call]
  return calls.some((call) => call.network === network)
}
