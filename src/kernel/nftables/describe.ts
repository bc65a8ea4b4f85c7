import { printableComment } from './elements.ts'
import type { NftChainRef, NftCommand, NftElement, NftHook, NftSet, NftSetRef, NftTable } from './objects.ts'

/** A command as nft reads it, for error messages and for people to type: `add element inet bowline pods { 10.1.0.5 … }`. */
export function describeNftCommand(command: NftCommand): string {
  switch (command.op) {
    case 'ensureTable':
    // nft says always that a table is not dormant.
    case 'wakeTable':
      return `add table ${describeTable(command.table)}`
    case 'removeTable':
      return `delete table ${describeTable(command.table)}`
    case 'ensureChain':
      return `add chain ${describeName(command.chain)}${describeHook(command.chain.hook)}`
    case 'flushChain':
      return `flush chain ${describeName(command.chain)}`
    case 'removeChain':
      return `delete chain ${describeName(command.chain)}`
    case 'addRule':
      return `add rule ${describeName(command.chain)} ${command.rule.map(({ text }) => text).join(' ')}`
    case 'ensureSet':
      return `add ${kindOf(command.set)} ${describeName(command.set)} ${describeTypes(command.set)}`
    case 'removeSet':
      return `delete ${kindOf(command.set)} ${describeName(command.set)}`
    case 'addElements':
      return `add element ${describeElements(command.set, command.elements)}`
    case 'removeElements':
      return `delete element ${describeElements(
        command.set,
        command.elements.map(({ key }) => ({ key })),
      )}`
  }
}

/** `inet bowline pods { 10.1.0.5 }`, and where it leads if that is said. */
export function describeElements<K, D>(set: NftSet<K, D>, elements: readonly NftElement<K, D>[]): string {
  return `${describeName(set)} { ${elements.map((one) => describeElement(set, one)).join(', ')} }`
}

function describeElement<K, D>(
  set: NftSet<K, D>,
  { key, data, comment, timeoutMs }: NftElement<K, D>,
): string {
  return [
    set.key.show(key),
    ...(timeoutMs === undefined ? [] : [`timeout ${timeoutMs}ms`]),
    ...(comment ? [`comment "${printableComment(comment)}"`] : []),
    ...(set.data && data !== undefined ? [`: ${set.data.show(data)}`] : []),
  ].join(' ')
}

/** `inet bowline pods`, of a chain or a set. */
export function describeName({ table, name }: NftChainRef | NftSetRef): string {
  return `${describeTable(table)} ${name}`
}

/** `inet bowline`. */
export function describeTable({ family, name }: NftTable): string {
  return `${family} ${name}`
}

function describeHook(hook: NftHook | undefined): string {
  return hook ? ` { type ${hook.type} hook ${hook.hook} priority ${hook.priority}; }` : ''
}

function kindOf({ data }: NftSet<unknown, unknown>): string {
  return data ? 'map' : 'set'
}

function describeTypes({ key, data, timeoutMs, dynamic }: NftSet<unknown, unknown>): string {
  const flags = [
    ...(dynamic ? ['dynamic'] : []),
    ...(key.last ? ['interval'] : []),
    ...(timeoutMs === undefined ? [] : ['timeout']),
  ].join(',')
  return [
    `{ type ${key.name}${data ? ` : ${data.name}` : ''};`,
    ...(flags ? [`flags ${flags};`] : []),
    ...(timeoutMs === undefined ? [] : [`timeout ${timeoutMs}ms;`]),
    '}',
  ].join(' ')
}
