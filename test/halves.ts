/** Numbers in half precision for tests: tensors of them, and how far a gradient rounded to one may be from its value. */
import { encodeHalf, type HalfType, halfTable } from '../compiler/kernel/half.js';
import { dtypeNames } from '../runtime/half.js';

export const halfTypes = ['f16', 'bf16'] as const;

/** A tensor of reals rounded to a half type, and the same numbers as reals. */
export function halved(type: HalfType, data: ArrayLike<number>, shape: readonly number[]) {
  const bits = Uint16Array.from(data, (value) => encodeHalf(type, value));
  return {
    tensor: { data: bits, shape, dtype: dtypeNames[type] },
    reals: { data: Float64Array.from(bits, (each) => halfTable(type)[each]!), shape },
  };
}

/** The numbers that bits stand for. */
export const numbersOf = (type: HalfType, bits: Uint16Array): Float64Array =>
  Float64Array.from(bits, (each) => halfTable(type)[each]!);

const formats = {
  f16: { mantissa: 10, least: -14 },
  bf16: { mantissa: 7, least: -126 },
};

/** Half the distance between neighbours of a half type around a number. */
export function halfUlp(type: HalfType, value: number): number {
  const { mantissa, least } = formats[type];
  const exponent = value === 0 ? least : Math.max(least, Math.floor(Math.log2(Math.abs(value))));
  return 2 ** (exponent - mantissa - 1);
}

/**
 * A Float16Array class: the engine's own, or for engines without one (before Node 24) a stand-in that is one to everybody who looks at
 * its tag, as one has to who cannot name the class. Its elements are bits.
 */
class StandIn extends Uint16Array {
  override get [Symbol.toStringTag](): never {
    return 'Float16Array' as never;
  }
}
type Class = new (...args: unknown[]) => Uint16Array;
export const Float16: Class = (globalThis as { Float16Array?: Class }).Float16Array ?? (StandIn as unknown as Class);

/** A Float16Array over the bits, whatever its class takes elements for. */
export function float16Of(bits: Uint16Array): Uint16Array {
  const copy = bits.slice();
  return new Float16(copy.buffer, 0, copy.length);
}
