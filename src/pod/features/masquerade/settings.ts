import type { AttachmentRecord } from '../../../attachment/record.ts'
import type { NetworkConfig } from '../../../cni/config.ts'
import { type Cidr, type Family, formatCidr, networkOf, parseCidr } from '../../../core/address.ts'
import { sha256 } from '../../../core/names.ts'
import type { NftElement } from '../../../kernel/nftables/objects.ts'
import { widest } from '../../../state/prefix_set.ts'

/*
 * How a network has its pods masqueraded. Networks may share a subnet, and each adds to what is not masqueraded there: a destination that
 * one of them names, and ports that one of them keeps.
 */
export type MasqueradeSettings = {
  /** Destinations that see a pod's own address. Absent: link-local ones. */
  readonly direct?: readonly Cidr[]
  /** A masqueraded flow keeps its source port where that is free. */
  readonly keepsPorts?: boolean
}

/** A subnet that is masqueraded, and the network that it was made for; other networks may share it. */
export type MasqueradedSubnet = { readonly subnet: Cidr; readonly network: string }

/** What a network says of a subnet. */
export type Contribution = { readonly network: string; readonly settings: MasqueradeSettings }

/** What the chain of a subnet does. */
export type SubnetRules = {
  /** Says in a few characters what follows, so that one question tells whether all of it is there. */
  readonly digest: string
  readonly direct: readonly NftElement<Cidr>[]
  readonly keepsPorts: boolean
}

/** That of a network without settings. */
export const USUAL = 'default'
const DIGEST_LENGTH = 8

/* Not parsed: that would cost every call of the plugin, also one without masquerading. */
/** 169.254.0.0/16 and fe80::/10. */
const LINK_LOCAL: Record<Family, Cidr> = {
  4: { address: { family: 4, value: 0xa9fen << 16n }, prefix: 16 },
  6: { address: { family: 6, value: 0xfe80n << 112n }, prefix: 10 },
}
/** 224.0.0.0/4 and ff00::/8. */
const MULTICAST: Record<Family, Cidr> = {
  4: { address: { family: 4, value: 0xe0n << 24n }, prefix: 4 },
  6: { address: { family: 6, value: 0xffn << 120n }, prefix: 8 },
}

export function settingsOf({ nonMasqueradeCIDRs, ipMasqFullyRandom }: NetworkConfig): MasqueradeSettings {
  return {
    ...(nonMasqueradeCIDRs && { direct: nonMasqueradeCIDRs }),
    ...(ipMasqFullyRandom === false && { keepsPorts: true }),
  }
}

/** Returns the settings for a record, if there are any. */
export function rememberedSettings({
  direct,
  keepsPorts,
}: MasqueradeSettings): Pick<AttachmentRecord, 'masqueradeSettings'> {
  if (!direct && !keepsPorts) return {}
  return {
    masqueradeSettings: {
      ...(direct && { direct: direct.map(formatCidr) }),
      ...(keepsPorts && { keepsPorts }),
    },
  }
}

export function recordedSettings({ masqueradeSettings = {} }: AttachmentRecord): MasqueradeSettings {
  const { direct, ...rest } = masqueradeSettings
  return { ...rest, ...(direct && { direct: direct.map(parseCidr) }) }
}

/** Returns what the chain of a subnet does for the networks that share it. The first of them is named where two say the same. */
export function rulesOf(
  { subnet, network: owner }: MasqueradedSubnet,
  contributions: readonly Contribution[],
): SubnetRules {
  const { family } = subnet.address
  const named = contributions.flatMap(({ network, settings: { direct } }) =>
    (direct ?? [LINK_LOCAL[family]])
      .filter(({ address }) => address.family === family)
      .map((key) => ({ key: networkOf(key), comment: direct ? ownerOf(network) : 'link-local' })),
  )
  return {
    digest: digestOf(family, contributions, named),
    direct: widest([
      { key: networkOf(subnet), comment: ownerOf(owner) },
      ...named,
      { key: MULTICAST[family], comment: 'multicast' },
    ]),
    keepsPorts: contributions.some(({ settings }) => settings.keepsPorts === true),
  }
}

/**
 * Returns what the chain does for the networks that share a subnet. After a change of its config, records of one network differ: if what is
 * there is what some of them say, it stays.
 */
export function rulesFor(
  one: MasqueradedSubnet,
  contributions: readonly Contribution[],
  present: string | undefined,
): SubnetRules {
  const byNetwork = [...Map.groupBy(contributions, ({ network }) => network).values()]
  for (const choice of choicesOf(byNetwork)) {
    const rules = rulesOf(one, choice)
    if (rules.digest === present) return rules
  }
  return rulesOf(one, contributions)
}

export function ownerOf(network: string): string {
  return `network ${network}`
}

function digestOf(
  family: Family,
  contributions: readonly Contribution[],
  direct: readonly NftElement<Cidr>[],
): string {
  const isUsual = ({ settings }: Contribution) => !settings.direct && !settings.keepsPorts
  if (contributions.every(isUsual)) return USUAL
  const keepsPorts = contributions.some(({ settings }) => settings.keepsPorts === true)
  const text = widest(direct)
    .map(({ key }) => formatCidr(key))
    .join(' ')
  if (!keepsPorts && text === formatCidr(LINK_LOCAL[family])) return USUAL
  return sha256(`${text}\0${keepsPorts}`).slice(0, DIGEST_LENGTH)
}

/** How many ways of choosing one settings of each network are tried. */
const MAX_CHOICES = 16

/** Returns each way to choose one of each list; none if there are too many. */
function choicesOf<T>(lists: readonly (readonly T[])[]): T[][] {
  if (lists.reduce((product, { length }) => product * length, 1) > MAX_CHOICES) return []
  return lists.reduce<T[][]>(
    (choices, list) => choices.flatMap((choice) => list.map((one) => [...choice, one])),
    [[]],
  )
}
