import { type Address, type Cidr, networkOf, parseAddress, parseCidr, sameCidr } from '../core/address.ts'
import { isPlainPath, PATH_RULE } from '../core/files.ts'
import { parseMac } from '../core/mac.ts'
import { isName, isPlainInterfaceName } from '../core/names.ts'

/** The form of a text in a configuration. The refusal of any other text quotes `what` and `example`. */
export type Format = {
  readonly what: string
  readonly example: string
  /** Returns the value that the text stands for; undefined if the text does not have this form. */
  read(text: string): unknown
}

/** The bound on a network's name. It names a directory (255 bytes at most), and runtimes add to it in file names. */
export const MAX_NETWORK_NAME = 200

/**
 * One format for each kind of text. All addresses, prefixes and hardware addresses of a configuration and of a result
 * become values here.
 */
export const FORMATS = {
  address: { what: 'an IP address', example: '10.1.0.5 or fd00::5', read: orUndefined(parseAddress) },
  addressOrCidr: {
    what: 'an IP address',
    example: '10.1.0.5 or fd00::5',
    read: orUndefined(parseAddressOrCidr),
  },
  cidr: {
    what: 'an address with a prefix length',
    example: '10.1.0.0/24 or fd00::/64',
    read: orUndefined(parseCidr),
  },
  network: {
    what: 'an address with a prefix length, without host bits',
    example: '10.0.0.0/8 or fd00::/8',
    read: orUndefined(parseNetwork),
  },
  mac: {
    what: 'a unicast hardware address of 6 bytes',
    example: '02:00:00:00:00:01',
    read: orUndefined(parseMac),
  },
  interfaceName: {
    what: 'an interface name (1 to 15 characters without space, "/", ":" and "%")',
    example: 'cni0',
    read: textIf(isPlainInterfaceName),
  },
  networkName: {
    what: 'a network name (letters, digits, "_", "." and "-", a letter or digit first, at most 200)',
    example: 'pod-network',
    read: textIf((text) => isName(text, MAX_NETWORK_NAME)),
  },
  path: {
    what: `an absolute path without ".." (${PATH_RULE})`,
    example: '/var/lib/cni/networks',
    read: textIf(isPlainPath),
  },
  pluginName: {
    what: 'the file name of a plugin, without a path',
    example: 'bowline-ipam',
    read: textIf((text) => isName(text, 255)),
  },
} satisfies Record<string, Format>

export type FormatName = keyof typeof FORMATS

/** Reads a requested address. A prefix length is allowed and ignored, as in the reference. Throws a Fault. */
export function parseAddressOrCidr(text: string): Address {
  return text.includes('/') ? parseCidr(text).address : parseAddress(text)
}

function parseNetwork(text: string): Cidr | undefined {
  const cidr = parseCidr(text)
  return sameCidr(cidr, networkOf(cidr)) ? cidr : undefined
}

function orUndefined<T>(parse: (text: string) => T | undefined): (text: string) => T | undefined {
  return (text) => {
    try {
      return parse(text)
    } catch {
      return undefined
    }
  }
}

function textIf(accepts: (text: string) => boolean): (text: string) => string | undefined {
  return (text) => (accepts(text) ? text : undefined)
}
