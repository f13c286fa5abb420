/**
 * Tensors in half precision on their way between callers and devices. Callers have the bits in a Uint16Array, or a Float16Array where the
 * engine knows that class; devices see bits, always as a Uint16Array, if their kernels can load and store the type. For the others
 * it is converted here: exactly to float32 or float64 on the way in, and on the way out rounded once, halves to even.
 */
import { encodeHalf, type HalfStorage, type HalfType, halfTable } from '../compiler/kernel/half.js';
import type { Device } from './device.js';
import type { RealArray } from './tensor.js';

/** Names of the types as callers write them. */
export const dtypeNames = { f16: 'float16', bf16: 'bfloat16' } as const satisfies Record<HalfType, string>;
export type HalfDType = (typeof dtypeNames)[HalfType];

/** A Float16Array, whether or not the declarations of the program that uses this package know the class. */
export interface Float16ArrayLike extends ArrayBufferView {
  readonly [Symbol.toStringTag]: 'Float16Array';
  readonly length: number;
  [index: number]: number;
}
/** Elements of half precision: bits with a `dtype` beside them, or a Float16Array. */
export type HalfArray = Uint16Array | Float16ArrayLike;

export const isFloat16Array = (value: unknown): value is Float16ArrayLike =>
  Object.prototype.toString.call(value) === '[object Float16Array]';

/** The same memory as bits. */
export const bitsOf = (array: HalfArray): Uint16Array =>
  isFloat16Array(array) ? new Uint16Array(array.buffer as ArrayBuffer, array.byteOffset, array.length) : array;

/** A zeroed array of the kind that `like` is. */
export function halfArrayLike(like: unknown, length: number): HalfArray {
  if (!isFloat16Array(like)) return new Uint16Array(length);
  // By its own class: that of another realm is another one.
  return new (like.constructor as unknown as new (length: number) => Float16ArrayLike)(length);
}

/** The elements as reals. */
export function decode(type: HalfType, bits: Uint16Array, reals: Device['reals']): RealArray {
  const table = halfTable(type);
  const result = reals === 'f32' ? new Float32Array(bits.length) : new Float64Array(bits.length);
  for (let i = 0; i < bits.length; i++) result[i] = table[bits[i] as number] as number;
  return result;
}

/** Each element rounded to the nearest, halves to even; beyond the largest to infinity. */
export function encode(type: HalfType, reals: RealArray, bits: Uint16Array): void {
  for (let i = 0; i < reals.length; i++) bits[i] = encodeHalf(type, reals[i] as number);
}

/** Gradients on the host as a device is to write them, and as the caller gets them. */
export interface PlacedGradients {
  /** What the device fills, by input name. */
  readonly gradients: Readonly<Record<string, RealArray | Uint16Array>>;
  /** Those of them that are bits. */
  readonly storage: NonNullable<HalfStorage['gradients']>;
  /** To be called when the device is done: rounds what it could not store itself. */
  finish(): void;
}

/**
 * @param targets what the caller is to get: by input name, an array of reals, or of the input's own half type
 * @param types the half types of inputs that have one
 */
export function placeGradients(
  targets: Readonly<Record<string, RealArray | HalfArray>>,
  types: Readonly<Record<string, HalfType>>,
  { reals, halves }: Pick<Device, 'reals' | 'halves'>,
): PlacedGradients {
  const gradients: Record<string, RealArray | Uint16Array> = {};
  const storage: Record<string, HalfType> = {};
  const rounding: (() => void)[] = [];
  for (const [name, target] of Object.entries(targets)) {
    const type = types[name];
    if (type === undefined || isReal(target)) gradients[name] = target as RealArray;
    else if (halves?.includes(type)) {
      gradients[name] = bitsOf(target);
      storage[name] = type;
    } else {
      const wide = reals === 'f32' ? new Float32Array(target.length) : new Float64Array(target.length);
      gradients[name] = wide;
      rounding.push(() => encode(type, wide, bitsOf(target)));
    }
  }
  return {
    gradients,
    storage,
    finish: () => {
      for (const round of rounding) round();
    },
  };
}

/** True for the arrays of reals, false for those of half precision. */
export const isReal = (array: RealArray | HalfArray): array is RealArray =>
  /^\[object Float(32|64)Array\]$/.test(Object.prototype.toString.call(array));

/** Reads an element of an input as the number it is. */
export function elementReader(
  data: RealArray | Int32Array | Uint16Array,
  type: HalfType | undefined,
): (index: number) => number {
  if (type === undefined) return (index) => data[index] ?? 0;
  const table = halfTable(type);
  return (index) => table[data[index] ?? 0] as number;
}
