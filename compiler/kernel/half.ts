/**
 * The 16-bit floating-point formats that tensors may be stored in: what a pattern of bits means, and which pattern stands for a number.
 *
 *   f16   IEEE 754 binary16: 5 bits of exponent, 10 of mantissa. 2^-24 to 65504
 *   bf16  bfloat16, the upper half of a float32: 8 bits of exponent, 7 of mantissa
 *
 * Kernels compute in float32 and float64; only loads and stores know of these. This is the definition that the interpreter, the
 * reference device and conversions on the host use, and that printed code is compared with.
 */

/** Storage of half the size of a float32. */
export type HalfType = 'f16' | 'bf16';

/** What memory holds in 16 bits, by input name. The two are independent: a gradient may be f32 where its input is not. */
export interface HalfStorage {
  readonly inputs?: Readonly<Record<string, HalfType>>;
  readonly gradients?: Readonly<Record<string, HalfType>>;
}

export const isHalf = (type: string): type is HalfType => type === 'f16' || type === 'bf16';

interface Format {
  /** Explicit bits of the mantissa. */
  readonly mantissa: number;
  /** Exponent of the least normal number, which subnormal ones share; the greatest is 1 - least. */
  readonly least: number;
  readonly infinity: number;
  readonly nan: number;
}

const formats: Record<HalfType, Format> = {
  f16: { mantissa: 10, least: -14, infinity: 0x7c00, nan: 0x7e00 },
  bf16: { mantissa: 7, least: -126, infinity: 0x7f80, nan: 0x7fc0 },
};

/** The number that 16 bits stand for. Exact: every one is a float32. */
export function decodeHalf(type: HalfType, bits: number): number {
  const { mantissa, least, infinity } = formats[type];
  const sign = bits & 0x8000 ? -1 : 1;
  const size = bits & 0x7fff;
  if (size >= infinity) return size === infinity ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  const exponent = size >> mantissa;
  const fraction = size & ((1 << mantissa) - 1);
  if (exponent === 0) return sign * fraction * 2 ** (least - mantissa);
  return sign * (fraction + (1 << mantissa)) * 2 ** (exponent - 1 + least - mantissa);
}

const view = new DataView(new ArrayBuffer(8));
/** Adding and subtracting it rounds what is smaller to a whole number, halves to the even one. */
const WHOLE = 2 ** 52;

/**
 * The 16 bits nearest to a number, halves to even, in one rounding from float64. Beyond the largest number (and half a step) that is
 * infinity; every NaN becomes the same quiet one.
 */
export function encodeHalf(type: HalfType, value: number): number {
  const { mantissa, least, infinity, nan } = formats[type];
  if (Number.isNaN(value)) return nan;
  view.setFloat64(0, value);
  const high = view.getUint32(0);
  const sign = (high >>> 16) & 0x8000;
  const exponent = Math.max(least, ((high >>> 20) & 0x7ff) - 1023);
  if (exponent > 1 - least) return sign | infinity;
  // In steps between neighbours of this exponent. A carry into the next exponent comes out right by itself.
  const steps = Math.abs(value) * 2 ** (mantissa - exponent) + WHOLE - WHOLE;
  return sign | (((exponent - least) << mantissa) + steps);
}

const tables = new Map<HalfType, Float32Array>();

/** What all 65536 patterns stand for: to decode many. */
export function halfTable(type: HalfType): Float32Array {
  let table = tables.get(type);
  if (table === undefined) {
    table = Float32Array.from({ length: 65536 }, (_, bits) => decodeHalf(type, bits));
    tables.set(type, table);
  }
  return table;
}
