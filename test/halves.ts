/** Numbers in half precision for tests: tensors of them, and how far a gradient rounded to one may be from its value. */
import { decodeHalf, encodeHalf, type HalfType, halfTable } from '../compiler/kernel/half.js';
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
 * Float32 numbers to be rounded to a type: all (or some) of its own, each middle between two of them with what is beside it, and what
 * lies beyond. No subnormal float32.
 */
export function narrowed(type: HalfType, every = 1): Float32Array {
  const numbers: number[] = [0, -0, Number.NaN, Infinity, -Infinity, 3.4e38, -3.4e38, 1e-30, 65519.996, 65520, 70000];
  const top = type === 'f16' ? 0x7bff : 0x7f7e;
  for (let bits = type === 'f16' ? 0 : 0x0080; bits < top; bits += every) {
    const [a, b] = [decodeHalf(type, bits), decodeHalf(type, bits + 1)];
    const middle = Math.fround((a + b) / 2);
    const step = 2 ** -23 * Math.max(middle, 2 ** -126);
    const sign = bits % 3 === 0 ? -1 : 1;
    numbers.push(sign * a, sign * middle, sign * Math.fround(middle - step), sign * Math.fround(middle + step));
  }
  return Float32Array.from(numbers.filter((x) => x === 0 || !(Math.abs(x) < 2 ** -126)));
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
