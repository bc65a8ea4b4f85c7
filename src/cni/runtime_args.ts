import { type Address, formatAddress } from '../core/address.ts'
import { Code, withAction } from '../core/errors.ts'
import { type Mac, parseMac } from '../core/mac.ts'
import { distinct } from '../core/text.ts'
import { presentDns } from './dns.ts'
import type { Invocation } from './environment.ts'
import { parseAddressOrCidr } from './formats.ts'
import type { CniDns } from './result.ts'
import type { NetworkConfig } from './schema.ts'

/** The properties that the caller requests for one attachment. */
export type RuntimeArgs = {
  readonly mac?: Mac
  /** All of them are requested, in this order, without repetition. */
  readonly ips: readonly Address[]
  /** `NAMESPACE/NAME` of the Kubernetes pod. */
  readonly podName?: string
}

const FROM_ENVIRONMENT = { code: Code.invalidEnvironment }

/**
 * Returns the requests of CNI_ARGS, `args.cni` and `runtimeConfig`. The MAC of the last of these wins; addresses add
 * up. Throws a Fault (code 4) for an invalid value in CNI_ARGS.
 */
export function runtimeArgsOf({ args }: Pick<Invocation, 'args'>, config: NetworkConfig): RuntimeArgs {
  const { runtimeConfig, args: { cni } = {} } = config
  const mac = runtimeConfig?.mac ?? cni?.mac ?? parseMacArg(args['MAC'])
  const ips = [...parseIpArg(args['IP']), ...(cni?.ips ?? []), ...(runtimeConfig?.ips ?? [])]
  const { K8S_POD_NAMESPACE: namespace = 'default', K8S_POD_NAME: name } = args
  return {
    ...(mac && { mac }),
    ips: distinct(ips, formatAddress),
    ...(name && { podName: `${namespace}/${name}` }),
  }
}

/**
 * Returns the DNS settings for the result: those of the config if it has any member, even an empty list; else those of
 * IPAM. The two are not merged.
 */
export function chooseDns({ dns }: NetworkConfig, fromIpam: CniDns | undefined): CniDns | undefined {
  return presentDns(dns) ?? fromIpam
}

function parseMacArg(text: string | undefined): Mac | undefined {
  return text ? withAction('CNI_ARGS: MAC', () => parseMac(text), FROM_ENVIRONMENT) : undefined
}

/** Multus sends a list that is separated by commas. */
function parseIpArg(text = ''): Address[] {
  const parts = text.split(',').map((part) => part.trim())
  return withAction('CNI_ARGS: IP', () => parts.filter(Boolean).map(parseAddressOrCidr), FROM_ENVIRONMENT)
}
