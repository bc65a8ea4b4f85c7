import { addressBytes, type Cidr, networkOf } from '../../../core/address.ts'
import { ipPrefix } from '../datatypes.ts'
import {
  Cmp,
  compare,
  type Expression,
  type Field,
  type KernelExpression,
  mask,
  type PayloadField,
} from '../expression.ts'
import { REGISTER_1 } from '../protocol.ts'

/** `iifname "eth0"` */
export function equals<T>(field: Field<T>, value: T): Expression {
  return match(field, '', field.type.show(value), compare(Cmp.eq, field.type.encode(value)))
}

/** `oifname != "eth0"` */
export function differs<T>(field: Field<T>, value: T): Expression {
  return match(field, '!= ', field.type.show(value), compare(Cmp.neq, field.type.encode(value)))
}

/** `ip daddr 10.1.0.0/24` */
export function within(field: PayloadField<unknown>, cidr: Cidr): Expression {
  return comparePrefix(field, cidr, '', Cmp.eq)
}

/** `ip daddr != 10.1.0.0/24` */
export function outside(field: PayloadField<unknown>, cidr: Cidr): Expression {
  return comparePrefix(field, cidr, '!= ', Cmp.neq)
}

/** Whole bytes are compared as they are; a prefix that ends within a byte is masked first. */
function comparePrefix(field: PayloadField<unknown>, cidr: Cidr, sign: string, operator: number): Expression {
  const { address, prefix } = networkOf(cidr)
  const isWhole = prefix % 8 === 0
  const length = isWhole ? prefix / 8 : field.type.length
  const value = addressBytes(address).subarray(0, length)
  const text = `${field.text} ${sign}${ipPrefix(address.family).show(cidr)}`
  const kernel = [
    ...field.load(REGISTER_1, length),
    ...(isWhole ? [] : [mask(maskBytes(length, prefix))]),
    compare(operator, value),
  ]
  return { text, kernel: prefix === 0 ? [] : kernel, needs: field.needs ?? [] }
}

function maskBytes(length: number, prefix: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => 0xff << Math.min(8, Math.max(0, 8 * (i + 1) - prefix)))
}

/** Returns a test of a field that is loaded into register 1. */
export function match(
  field: Field<unknown>,
  sign: string,
  value: string,
  ...tests: KernelExpression[]
): Expression {
  return {
    text: `${field.text} ${sign}${value}`,
    kernel: [...field.load(REGISTER_1), ...tests],
    needs: field.needs ?? [],
  }
}
