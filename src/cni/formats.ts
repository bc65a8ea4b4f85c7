import { type Address, parseAddress, parseCidr } from '../core/address.ts'
import { isPlainPath, PATH_RULE } from '../core/files.ts'
import { parseMac } from '../core/mac.ts'
import { isName, isPlainInterfaceName } from '../core/names.ts'

/** What a text in a configuration must look like. `what` and `example` go into the refusal of one that does not. */
export type Format = {
  readonly what: string
  readonly example: string
  accepts(text: string): boolean
}

/** It becomes the name of a directory (255 bytes at most), and runtimes put more into the same file name. */
export const MAX_NETWORK_NAME = 200

/** One format for each kind of text that becomes something else: an address, a path, a name in the kernel. */
export const FORMATS = {
  address: {
    what: 'an IP address',
    example: '10.1.0.5 or fd00::5',
    accepts: readableBy(parseAddress),
  },
  addressOrCidr: {
    what: 'an IP address',
    example: '10.1.0.5 or fd00::5',
    accepts: readableBy(parseAddressOrCidr),
  },
  cidr: {
    what: 'an address with a prefix length',
    example: '10.1.0.0/24 or fd00::/64',
    accepts: readableBy(parseCidr),
  },
  mac: {
    what: 'a unicast hardware address of 6 bytes',
    example: '02:00:00:00:00:01',
    accepts: readableBy(parseMac),
  },
  interfaceName: {
    what: 'an interface name (1 to 15 characters without space, "/", ":" and "%")',
    example: 'cni0',
    accepts: isPlainInterfaceName,
  },
  networkName: {
    what: 'a network name (letters, digits, "_", "." and "-", a letter or digit first, at most 200)',
    example: 'pod-network',
    accepts: (text) => isName(text, MAX_NETWORK_NAME),
  },
  path: {
    what: `an absolute path without ".." (${PATH_RULE})`,
    example: '/var/lib/cni/networks',
    accepts: isPlainPath,
  },
  pluginName: {
    what: 'the file name of a plugin, without a path',
    example: 'bowline-ipam',
    accepts: (text) => isName(text, 255),
  },
} satisfies Record<string, Format>

export type FormatName = keyof typeof FORMATS

/** Reads a requested address. A prefix length is allowed and means nothing, as in the reference. Throws a Fault. */
export function parseAddressOrCidr(text: string): Address {
  return text.includes('/') ? parseCidr(text).address : parseAddress(text)
}

function readableBy(parse: (text: string) => unknown): (text: string) => boolean {
  return (text) => {
    try {
      parse(text)
      return true
    } catch {
      return false
    }
  }
}
