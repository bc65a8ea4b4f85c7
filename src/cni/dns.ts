import type { CniDns } from './result.ts'

type JsonDns = { readonly [Key in keyof CniDns]?: CniDns[Key] | undefined }

/** Returns the members that are present, including empty lists; undefined if there are none. */
export function presentDns({ nameservers, domain, search, options }: JsonDns = {}): CniDns | undefined {
  const dns = {
    ...(nameservers && { nameservers }),
    ...(domain && { domain }),
    ...(search && { search }),
    ...(options && { options }),
  }
  return Object.keys(dns).length > 0 ? dns : undefined
}
