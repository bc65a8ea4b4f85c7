import { formatAddress, formatCidr, sameAddress, sameCidr } from '../core/address.ts'
import {
  ALL_LINK_SETTINGS,
  describeFdbEntry,
  describeRoute,
  describeVlans,
  LINK_SETTINGS,
} from '../kernel/describe.ts'
import { AddressFlag, type Link, type PortVlan } from '../kernel/kernel.ts'
import { removeElements } from '../kernel/nftables/objects.ts'
import { createOn } from './create.ts'
import type {
  Desired,
  DesiredLink,
  DesiredNftChain,
  DesiredNftElement,
  DesiredPrefixSet,
  LinkType,
  NftObject,
} from './desired.ts'
import {
  changeStep,
  type Difference,
  dormancy,
  nftStep,
  offloadStep,
  type StateChange,
  type Step,
  sysctlStep,
} from './explain.ts'
import { createNft } from './nft.ts'
import { indexIn, nameIn, type Observed, type PlaceState, sysctlKeys } from './observe.ts'
import { differenceOfPrefixes } from './prefix_set.ts'
import { hasNumbers, isRival, isSameWay } from './route.ts'
import { judgeTraffic } from './traffic.ts'

const DEFAULT_VLAN = 1

type Of<K extends Desired['kind']> = Extract<Desired, { kind: K }>
type LinkObject = Exclude<Desired, NftObject>
type Settings = Omit<Extract<StateChange, { op: 'setLink' }>, 'op' | 'link'>

/** What there is of a desired object's link. */
type Context = {
  readonly desired: readonly Desired[]
  readonly state: PlaceState
  readonly link: Link | undefined
  /** Below 0 for a link that is missing. */
  readonly index: number
  readonly step: (change: StateChange) => Step
}

/**
 * Returns what of the desired objects is missing or wrong, in the order of mending, which is theirs. Pure. In the changes
 * of what is to lie on a missing link, the link has an index below 0. `judged`: the part of the objects that is wanted.
 */
export function difference(
  desired: readonly Desired[],
  observed: Observed,
  judged: readonly Desired[] = desired,
): Difference[] {
  return judged.flatMap((object): readonly Difference[] => {
    if (object.kind === 'nftChain') return judgeChain(object, observed)
    if (object.kind === 'nftElement') return judgeElement(object, observed)
    if (object.kind === 'prefixSet') return judgePrefixes(object, observed)
    const state = observed.places.get(object.place)
    if (!state) return []
    return judge(object, {
      desired,
      state,
      link: state.links.get(object.link),
      index: indexIn(state, object.link),
      step: (change) => changeStep(object.place, change, (index) => nameIn(state, index)),
    })
  })
}

function judge(object: LinkObject, context: Context): Difference[] {
  switch (object.kind) {
    case 'link':
      return context.link ? judgeLink(object, context.link, context) : missingLink(object, context)
    case 'sysctl': {
      const isNew = !context.link && onSameLink('link', object, context).some(({ create }) => create)
      return isNew ? [] : judgeSysctl(object, context)
    }
    case 'checksumOffload':
      return judgeOffload(object, context)
    case 'portVlans':
      return judgePortVlans(object, context)
    case 'qdisc':
    case 'packetFilter':
      return judgeTraffic(object, context.state, context.step)
    default:
      return judgeOnLink(object, context)
  }
}

/** The settings of a new link come with its creation, before it is up. */
function missingLink(object: DesiredLink, context: Context): Difference[] {
  const { create, link: name, place, up } = object
  const { state, step } = context
  if (!create) return [{ what: `link ${name} is missing ${place.words}`, steps: [] }]
  const isBridge = create.type === 'bridge'
  const settings = onSameLink('sysctl', object, context).flatMap((one) => judgeSysctl(one, context))
  const missing = {
    what: `${isBridge ? 'bridge' : 'link'} ${name} is missing`,
    steps: [
      ...creation(name, create, state).map(step),
      ...settings.flatMap(({ steps }) => steps),
      ...(up ? [step({ op: 'setLink', link: { name }, up })] : []),
    ],
  }
  if (isBridge || !state.others.has(name)) return [missing]
  const what =
    create.type === 'vlan'
      ? `link ${name} is not VLAN ${create.id} of bridge ${create.parent}`
      : `link ${name} is of another kind or has other options`
  return [{ what, steps: [step({ op: 'removeLink', link: { name } })] }, missing]
}

function creation(name: string, create: LinkType, state: PlaceState): StateChange[] {
  switch (create.type) {
    case 'bridge':
      return [{ op: 'createBridge', name, mac: create.mac, vlanFiltering: create.vlanFiltering }]
    case 'ifb':
      return [
        { op: 'createIfb', name },
        { op: 'setLink', link: { name }, alias: create.alias },
      ]
    case 'vlan':
      return [{ op: 'createVlan', name, parent: indexIn(state, create.parent), vlan: create.id }]
    case 'vxlan':
      return [
        { op: 'createVxlan', name, mac: create.mac, mtu: create.mtu, vxlan: create.options },
        { op: 'setLink', link: { name }, ipv6LinkLocal: false },
      ]
  }
}

/** With another MAC the kernel forgets the neighbours of a link, permanent ones too. */
function judgeLink(object: DesiredLink, link: Link, context: Context): Difference[] {
  const { place, link: name, master, port = {}, up, vlanFiltering } = object
  const { maxMtu = link.mtu } = object
  const { index, step } = context
  const own = link.kind === 'bridge' ? `bridge ${name}` : `${name} ${place.words}`
  const bridge = master === undefined ? undefined : indexIn(context.state, master)
  const isPort = bridge === undefined || link.master === bridge
  const options = (['hairpin', 'isolated'] as const).filter((option) => port[option])
  const on = Object.fromEntries(options.map((option) => [option, true]))
  const join = { ...(bridge !== undefined && { master: bridge }), ...(options.length > 0 && { port: on }) }
  const found: readonly (readonly [isWrong: boolean | undefined, what: string, settings: Settings])[] = [
    [
      link.mtu > maxMtu,
      `${own} has an MTU of ${link.mtu}, more than the ${maxMtu} of its other end`,
      { mtu: maxMtu },
    ],
    ...ALL_LINK_SETTINGS.map((setting) => {
      const { [setting]: wanted = link[setting] } = object
      const what = `${own} has ${LINK_SETTINGS[setting].words} ${link[setting]} instead of ${wanted}`
      return [link[setting] !== wanted, what, { [setting]: wanted }] as const
    }),
    [up && !link.up, `${own} is down`, { up: true }],
    [vlanFiltering && !link.vlanFiltering, `${own} does not filter VLANs`, { vlanFiltering: true }],
    [!isPort, `${name} is not a port of bridge ${master}`, join],
    [object.isPort === false && link.master !== undefined, `${own} is a port of another link`, { master: 0 }],
    [
      object.create?.type === 'vxlan' && link.vxlan?.tuning !== undefined,
      `${own} has options of its own: ${link.vxlan?.tuning}`,
      { untuned: true },
    ],
    ...options.map(
      (option) =>
        [
          isPort && !link.port?.[option],
          `${option === 'hairpin' ? 'hairpin mode' : 'port isolation'} is off on ${name}`,
          { port: { [option]: true } },
        ] as const,
    ),
  ]
  const neighbours = onSameLink('neighbour', object, context).flatMap((one) => createOn(one, index))
  return found
    .filter(([isWrong]) => isWrong)
    .map(([, what, settings]) => {
      const change: StateChange = { op: 'setLink', link: { index }, ...settings }
      return { what, steps: [change, ...(settings.mac ? neighbours : [])].map(step) }
    })
}

function onSameLink<K extends LinkObject['kind']>(
  kind: K,
  { place, link }: LinkObject,
  { desired }: Context,
): Of<K>[] {
  return desired.filter(
    (one): one is Of<K> => one.kind === kind && 'link' in one && one.link === link && one.place === place,
  )
}

/** Without such a setting, on a kernel without IPv6 say, nothing is to be set. */
function judgeSysctl(object: Of<'sysctl'>, { state }: Context): Difference[] {
  const [key] = sysctlKeys(object)
  const value = state.sysctls.get(key)
  if (value === undefined || value === object.value) return []
  return [{ what: object.otherwise, steps: [sysctlStep(object.place, [key, object.value])] }]
}

/** A link that is missing is made with it. */
function judgeOffload(object: Of<'checksumOffload'>, { state, link }: Context): Difference[] {
  const { link: name, place, isOn } = object
  const isNow = link ? state.checksumOffloads.get(name) : true
  if (isNow === undefined || isNow === isOn) return []
  const what = `${name} ${place.words} ${isOn ? 'does not leave checksums to the device' : 'leaves checksums to the device'}`
  return [{ what, steps: [offloadStep(object)] }]
}

/** VLANs that somebody has added are not judged, but for the default one. A port has lost all when it has left its bridge. */
function judgePortVlans(object: Of<'portVlans'>, context: Context): Difference[] {
  const { link: name, vlans, self, dropDefault } = object
  const { index, step, state, link } = context
  const created = (part: Partial<typeof object>) => createOn({ ...object, ...part }, index).map(step)
  const [port] = onSameLink('link', object, context)
  if (port?.master !== undefined && link?.master !== indexIn(state, port.master)) {
    return [{ what: `${name} has lost its VLANs`, steps: created({}) }]
  }
  const [present, wanted] = [membership(state.portVlans.get(name) ?? []), membership(vlans)]
  const isThere = (id: number): boolean => (self ? present.has(id) : wanted.get(id) === present.get(id))
  const missing = vlans
    .filter((vlan) => ![...membership([vlan]).keys()].every(isThere))
    .map((vlan) => {
      const what = self ? `bridge ${name} is not in VLAN` : 'VLAN'
      return {
        what: `${what} ${describeVlans(vlan)} ${self ? 'itself' : `is missing or wrong on ${name}`}`,
        steps: created({ vlans: [vlan], dropDefault: false }),
      }
    })
  if (!dropDefault || wanted.has(DEFAULT_VLAN) || !present.has(DEFAULT_VLAN)) return missing
  const vlan = { from: DEFAULT_VLAN, to: DEFAULT_VLAN }
  const leave = step({ op: 'removePortVlan', linkIndex: index, vlan })
  return [...missing, { what: `${name} is in VLAN ${DEFAULT_VLAN} as well`, steps: [leave] }]
}

/** Returns for each VLAN what kind of member it makes; a later entry counts. */
function membership(vlans: readonly PortVlan[]): Map<number, string> {
  const members = new Map<number, string>()
  for (const { from, to, pvid, untagged } of vlans) {
    for (let id = from; id <= to; id++) members.set(id, `${pvid ? 'pvid ' : ''}${untagged ? 'untagged' : ''}`)
  }
  return members
}

/** Whether duplicate detection of an address still goes on is not asked: it may have been added just now. */
function judgeOnLink(
  object: Of<'address' | 'fdbEntry' | 'neighbour' | 'route'>,
  context: Context,
): Difference[] {
  const { link: name, place } = object
  const { state, index, link, step } = context
  const where = `${name} ${place.words}`
  const missing = (what: string, before: readonly StateChange[] = []): Difference[] => [
    { what: `${what} on ${where}`, steps: [...before, ...createOn(object, index)].map(step) },
  ]
  if (object.kind === 'address') {
    const found = state.addresses.get(name)?.find(({ cidr }) => sameCidr(cidr, object.cidr))
    const what = `address ${formatCidr(object.cidr)}`
    if (!found) return missing(`${what} is missing`)
    const isDuplicate = (found.flags & AddressFlag.dadFailed) !== 0
    return isDuplicate ? [{ what: `${what} on ${where} is another machine's too`, steps: [] }] : []
  }
  if (object.kind === 'neighbour') {
    const { address, mac } = object
    const isThere = state.neighbours
      .get(name)
      ?.some((one) => one.mac === mac && sameAddress(one.address, address))
    return isThere ? [] : missing(`neighbour ${formatAddress(address)} is missing or wrong`)
  }
  if (object.kind === 'fdbEntry') {
    const { mac, destination } = object
    const isThere = state.fdbEntries
      .get(name)
      ?.some((one) => one.mac === mac && sameAddress(one.destination, destination))
    return isThere ? [] : missing(`forwarding entry ${describeFdbEntry(object)} is missing or wrong`)
  }
  const { route, anyTable } = object
  const present = state.routes.get(name) ?? []
  if (present.some((one) => isSameWay(one, route, anyTable) && hasNumbers(one, route, link?.mtu ?? 0)))
    return []
  const rivals = present.filter((one) => isRival(one, route))
  return missing(
    `route ${describeRoute(route)} is missing or wrong`,
    rivals.map((one) => ({ op: 'removeRoute', route: one })),
  )
}

function judgeChain(object: DesiredNftChain, { nft, dormant }: Observed): Difference[] {
  const asleep = dormant?.has(object) ? [dormancy(object.chain.table)] : []
  if (nft.get(object) === 'present') return asleep
  return [...asleep, { what: object.otherwise, steps: [nftStep(createNft([object]))] }]
}

/** What somebody has added is not judged. */
function judgePrefixes(object: DesiredPrefixSet, { prefixes }: Observed): readonly Difference[] {
  return differenceOfPrefixes(object, prefixes?.get(object) ?? []).growth
}

function judgeElement(object: DesiredNftElement, { nft }: Observed): Difference[] {
  const state = nft.get(object)
  if (state === 'present') return []
  const { set, element, obstacles = [], otherwise } = object
  const other = state === 'other' ? [removeElements(set, { key: element.key })] : []
  const what = `${otherwise} ${state === 'other' ? 'leads elsewhere' : 'is missing'}`
  return [{ what, steps: [nftStep([...obstacles, ...other, ...createNft([object])])] }]
}
