/** Conversions of 16-bit reals, over all patterns, against other definitions of the same formats. */
import { float16ToFloat32 } from 'npyjs';
import { describe, expect, test } from 'vitest';
import { decodeHalf, encodeHalf, type HalfType, halfTable } from '../../compiler/kernel/half.js';
import { halfTypes } from '../halves.js';

const patterns = Array.from({ length: 65536 }, (_, bits) => bits);
const words = new Uint32Array(1);
const asFloat = new Float32Array(words.buffer);
/** bfloat16 is the upper half of a float32, which the machine can read. */
const upperHalf = (bits: number): number => {
  words[0] = bits << 16;
  return asFloat[0]!;
};
const others: Record<HalfType, (bits: number) => number> = { f16: float16ToFloat32, bf16: upperHalf };
const largest = { f16: 0x7bff, bf16: 0x7f7f };

describe.each(halfTypes)('%s', (type) => {
  const value = (bits: number) => decodeHalf(type, bits);

  test('all patterns mean what another implementation says', () => {
    const wrong = patterns.filter((bits) => !Object.is(value(bits), others[type](bits)));
    expect(wrong).toEqual([]);
    expect(Array.from(halfTable(type))).toEqual(patterns.map(value));
  });

  test('all numbers are encoded as themselves, and every NaN as one', () => {
    const wrong = patterns.filter((bits) => {
      const back = encodeHalf(type, value(bits));
      return Number.isNaN(value(bits)) ? !Number.isNaN(value(back)) : back !== bits;
    });
    expect(wrong).toEqual([]);
  });

  test('halves go to the even neighbour, and everything nearer to one to that one, for every pair of neighbours', () => {
    const wrong: number[] = [];
    for (let low = 0; low < largest[type]; low++) {
      const [a, b] = [value(low), value(low + 1)];
      const middle = (a + b) / 2; // exact in float64, which has many more bits
      const even = low % 2 === 0 ? low : low + 1;
      const step = (b - a) * 2 ** -30;
      const right =
        encodeHalf(type, middle) === even &&
        encodeHalf(type, middle - step) === low &&
        encodeHalf(type, middle + step) === low + 1 &&
        encodeHalf(type, -middle) === (even | 0x8000);
      if (!right) wrong.push(low);
    }
    expect(wrong).toEqual([]);
  });

  test('from half a step beyond the largest on it is infinity', () => {
    const top = value(largest[type]);
    const beyond = top + (top - value(largest[type] - 1)) / 2;
    expect(encodeHalf(type, beyond * (1 - 2 ** -40))).toBe(largest[type]);
    for (const big of [beyond, 1e300, Number.POSITIVE_INFINITY]) {
      expect(encodeHalf(type, big)).toBe(largest[type] + 1);
      expect(encodeHalf(type, -big)).toBe((largest[type] + 1) | 0x8000);
    }
  });

  test('one rounding, not two: a float64 just above a half that float32 would round to the half', () => {
    const one = encodeHalf(type, 1);
    const half = 1 + (value(one + 1) - 1) / 2;
    expect(Math.fround(half + 2 ** -40)).toBe(half);
    expect(encodeHalf(type, half)).toBe(one);
    expect(encodeHalf(type, half + 2 ** -40)).toBe(one + 1);
  });

  test('zeros keep their sign, and what is smaller than half the least becomes one', () => {
    expect([0, -0, 1e-300, -1e-300].map((x) => encodeHalf(type, x))).toEqual([0, 0x8000, 0, 0x8000]);
  });
});
