import { type AttachmentId, ownerText } from '../core/names.ts'

/** The kernel takes 255 bytes. */
const MAX_LENGTH = 250

/**
 * What `ip link` shows beside the host interface, in both modes: for the person who wonders whose it is, and for a
 * removal, which must know a link of ours by another name, or though its record is lost.
 */
export function aliasOf(id: AttachmentId): string {
  return `${PREFIX}${id.network} ${ownerText(id)}`.slice(0, MAX_LENGTH)
}

/** The attachment that an alias names; undefined if it is not one of ours, or was cut. */
export function ownerOfAlias(alias = ''): AttachmentId | undefined {
  if (!isOwnAlias(alias) || !isWhole(alias)) return undefined
  const [network, containerId, ifName, more] = alias.slice(PREFIX.length).split(' ')
  return network && containerId && ifName && more === undefined ? { network, containerId, ifName } : undefined
}

/** Whether the alias, cut or not, is that of a host end of this network. */
export function isAliasOfNetwork(alias: string | undefined, network: string): boolean {
  return alias?.startsWith(`${PREFIX}${network} `) === true
}

/** Whether the alias, cut or not, is one that Bowline has set. */
export function isOwnAlias(alias = ''): boolean {
  return alias.startsWith(PREFIX)
}

/** Whether the alias was not cut: else others may have the same. */
export function isWhole(alias: string): boolean {
  return alias.length < MAX_LENGTH
}

const PREFIX = 'bowline '
