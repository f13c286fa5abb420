/**
 * Functions on f32 that printed modules may use.
 *
 * Infinity. WGSL lets implementations assume that infinities do not exist, so inside kernels +-1e30 stands for them, and
 * every magnitude from 5e29 on counts as infinite: inputs are brought to that form when they are loaded (`finite`),
 * and results become +-Infinity again when they are stored to an output (`result`).
 * NaN. It may be assumed not to exist either, and compilers do drop it where `max`, `min` or `clamp` could have seen it
 * or turn `!(a >= b)` into `a < b`. So it is looked for by its bits, and every function here passes it on.
 *
 * Errors in ulp, tested in test/wgsl/math.test.ts: exp as the device's (WGSL allows 3 + 2 |x|), 4 for the other functions.
 */
import { expTail, ln2, logTail } from '../kernel/coefficients.js';
import type { LibraryFunction } from './library.js';
import { singleLiteral } from './types.js';

/** Statements that leave c0 + c1 x + c2 x^2 + ... in `sum`. */
function horner(x: string, coefficients: readonly number[]): string {
  const [last, ...rest] = [...coefficients].reverse().map(singleLiteral);
  return [`  var sum: f32 = ${last};`, ...rest.map((coefficient) => `  sum = fma(sum, ${x}, ${coefficient});`)].join(
    '\n',
  );
}

export const singleFunctions: readonly LibraryFunction[] = [
  {
    name: 'rounded',
    text: `// x as it was rounded to f32. Compilers may simplify (a + b) - a to b, and some do, but not through an exclusive or
// with a number they do not know.
fn rounded(x: f32) -> f32 {
  return bitcast<f32>(bitcast<u32>(x) ^ launch.zero);
}`,
  },
  {
    name: 'nan',
    text: `fn nan() -> f32 {
  return bitcast<f32>(0x7fc00000u ^ launch.zero);
}`,
  },
  {
    name: 'is_nan',
    text: `fn is_nan(x: f32) -> bool {
  return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}`,
  },
  {
    name: 'finite',
    text: `// What memory outside of kernels holds as kernels have it: +-1e30 for +-Infinity and for magnitudes from 5e29 on.
fn finite(x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  let size = bits & 0x7fffffffu;
  let is_infinite = size >= 0x70c9f2cau && size <= 0x7f800000u; // 5e29 .. Infinity; beyond are NaNs
  return select(x, bitcast<f32>((bits & 0x80000000u) | 0x7149f2cau), is_infinite);
}`,
  },
  {
    name: 'result',
    text: `// The way out: +-Infinity for +-1e30.
fn result(x: f32) -> f32 {
  let sign = bitcast<u32>(x) & 0x80000000u;
  return select(x, bitcast<f32>(sign | (0x7f800000u ^ launch.zero)), abs(x) >= HUGE);
}`,
  },
  {
    name: 'nearest_f16',
    text: `// The nearest number that f16 has, halves to even: what hardware rounds otherwise then converts without rounding.
fn nearest_f16(x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  let size = bits & 0x7fffffffu;
  if (size < 0x38800000u) {
    return round(x * 16777216.0) * 5.9604644775390625e-8; // below 2^-14: steps of 2^-24
  }
  let nearest = (size + 0xfffu + ((size >> 13u) & 1u)) & 0xffffe000u;
  // From 65520 on; NaN stays as it is.
  let infinity = 0x7f800000u ^ launch.zero;
  let finite_size = select(nearest, infinity, size >= 0x477ff000u);
  return bitcast<f32>((bits & 0x80000000u) | select(finite_size, 0x7fc00000u ^ launch.zero, size > 0x7f800000u));
}`,
  },
  {
    name: 'is_not_plus_infinite',
    text: `fn is_not_plus_infinite(x: f32) -> bool {
  return x < HUGE || is_nan(x);
}`,
  },
  {
    name: 'is_not_minus_infinite',
    text: `fn is_not_minus_infinite(x: f32) -> bool {
  return x > -HUGE || is_nan(x);
}`,
  },
  {
    name: 'max_f32',
    text: `fn max_f32(a: f32, b: f32) -> f32 {
  return select(max(a, b), a + b, is_nan(a) || is_nan(b));
}`,
  },
  {
    name: 'min_f32',
    text: `fn min_f32(a: f32, b: f32) -> f32 {
  return select(min(a, b), a + b, is_nan(a) || is_nan(b));
}`,
  },
  {
    name: 'infinite_f32',
    text: `// Infinity with the sign of a * b.
fn infinite_f32(a: f32, b: f32) -> f32 {
  return select(INFINITE, -INFINITE, (a < 0.0) != (b < 0.0));
}`,
  },
  {
    name: 'mul_f32',
    text: `fn mul_f32(a: f32, b: f32) -> f32 {
  let product = a * b;
  return select(product, infinite_f32(a, b), max(abs(a), abs(b)) >= HUGE && product != 0.0 && !is_nan(product));
}`,
  },
  {
    name: 'div_f32',
    text: `fn div_f32(a: f32, b: f32) -> f32 {
  if (is_nan(a) || is_nan(b)) {
    return a + b;
  }
  if (abs(b) >= HUGE) {
    return select(0.0, nan(), abs(a) >= HUGE);
  }
  if (b == 0.0 || abs(a) >= HUGE) {
    return select(infinite_f32(a, b), nan(), a == 0.0);
  }
  return finite(a / b);
}`,
  },
  {
    name: 'power_of_two',
    text: `// 2^k for -126 <= k <= 127.
fn power_of_two(k: i32) -> f32 {
  return bitcast<f32>(u32(k + 127) << 23u);
}`,
  },
  {
    name: 'exp_f32',
    text: `fn exp_f32(x: f32) -> f32 {
  return select(exp(x), INFINITE, x > 68.0);
}`,
  },
  {
    name: 'octaves',
    text: `// The whole number k with x = k ln 2 + r, |r| <= ln(2) / 2, for x within the range of exp.
fn octaves(x: f32) -> f32 {
  return round(clamp(x * ${singleLiteral(Math.LOG2E)}, -126.0, 127.0));
}`,
  },
  {
    name: 'expm1_tail',
    text: `// e^r - 1 - r for |r| <= ln(2) / 2: r^2 P(r).
fn expm1_tail(r: f32) -> f32 {
${horner('r', expTail.f32)}
  return r * r * sum;
}`,
  },
  {
    name: 'log1p_tail',
    text: `// log(1 + f) - f for sqrt(1/2) <= 1 + f <= sqrt(2): f^3 Q(f) - f^2 / 2.
fn log1p_tail(f: f32) -> f32 {
${horner('f', logTail.f32)}
  return f * f * fma(f, sum, -0.5);
}`,
  },
  {
    name: 'expm1_f32',
    text: `// 2^k (e^r - 1) + (2^k - 1) with x = k ln 2 + r.
fn expm1_f32(x: f32) -> f32 {
  let k = octaves(x);
  let r = fma(k, ${singleLiteral(-ln2.f32.low)}, rounded(fma(k, ${singleLiteral(-ln2.f32.high)}, x)));
  let scale = power_of_two(i32(k));
  let value = fma(scale, r + expm1_tail(r), scale - 1.0);
  if (x > 68.0) {
    return INFINITE;
  }
  return select(value, -1.0, x < -20.0);
}`,
  },
  {
    name: 'log_f32',
    text: `// log x = k ln 2 + log(1 + f) with x = 2^k (1 + f).
fn log_f32(x: f32) -> f32 {
  if (is_nan(x) || x >= HUGE) {
    return x;
  }
  if (x <= 0.0) {
    return select(nan(), -INFINITE, x == 0.0);
  }
  let bits = bitcast<i32>(x);
  let k = (bits - 0x3f3504f3) >> 23u; // counted from sqrt(1/2)
  let f = bitcast<f32>(bits - (k << 23u)) - 1.0;
  return fma(f32(k), ${singleLiteral(ln2.f32.high)}, f + fma(f32(k), ${singleLiteral(ln2.f32.low)}, log1p_tail(f)));
}`,
  },
  {
    name: 'log1p_f32',
    text: `// log(1 + x) with what 1 + x loses by rounding put back.
fn log1p_f32(x: f32) -> f32 {
  let u = rounded(1.0 + x);
  if (x >= HUGE || u <= 0.0) {
    return log_f32(u);
  }
  let large = abs(x) > 1.0;
  let lost = select(x, 1.0, large) - rounded(u - select(1.0, x, large));
  return log_f32(u) + lost / u;
}`,
  },
  {
    name: 'sqrt_f32',
    text: `fn sqrt_f32(x: f32) -> f32 {
  if (x >= HUGE) {
    return INFINITE;
  }
  return select(sqrt(max(x, 0.0)), nan(), x < 0.0 || is_nan(x));
}`,
  },
  {
    name: 'tanh_f32',
    text: `// tanh |x| = -m / (2 + m) with m = e^(-2 |x|) - 1.
fn tanh_f32(x: f32) -> f32 {
  let m = expm1_f32(-2.0 * abs(x));
  let size = -m / (2.0 + m);
  return select(size, -size, x < 0.0);
}`,
  },
  {
    name: 'sigmoid_f32',
    text: `// e^min(x, 0) / (1 + e^-|x|): neither overflows.
fn sigmoid_f32(x: f32) -> f32 {
  let small = exp_precise_f32(-abs(x));
  return select(1.0, small, x < 0.0) / (1.0 + small);
}`,
  },
  {
    name: 'exp_precise_f32',
    text: `// e^x for x <= 0 within 2 ulp, whatever the device's own exp is worth.
fn exp_precise_f32(x: f32) -> f32 {
  let k = octaves(x);
  let r = fma(k, ${singleLiteral(-ln2.f32.low)}, rounded(fma(k, ${singleLiteral(-ln2.f32.high)}, x)));
  return select(power_of_two(i32(k)) * (1.0 + (r + expm1_tail(r))), 0.0, x < -87.0);
}`,
  },
  {
    name: 'softplus_f32',
    text: `// max(x, 0) + log(1 + e^-|x|).
fn softplus_f32(x: f32) -> f32 {
  return select(x, 0.0, x < 0.0) + log1p_f32(exp_precise_f32(-abs(x)));
}`,
  },
  {
    name: 'log_add_exp_f32',
    text: `// log(e^a + e^b) = max(a, b) + log(1 + e^-|a - b|).
fn log_add_exp_f32(a: f32, b: f32) -> f32 {
  return max_f32(a, b) + log1p_f32(exp_precise_f32(-abs(a - b)));
}`,
  },
];
