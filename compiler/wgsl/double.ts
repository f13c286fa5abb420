/**
 * Functions on `Double`: a real number as the unevaluated sum of two f32, x the rounded value and y what is left.
 *
 * Sums, differences, products and quotients carry about 46 bits, exp and log about 36. So do logAddExp and softplus beside an
 * exact large part: their error is absolute and does not grow with the magnitude of log weights, and a thousand of
 * them, along a path through a lattice, still leave eight digits of a gradient that is a small difference. Other functions give
 * what their f32 argument and result deserve, 24 bits or a little more. The range is that of f32; infinities and NaN are as
 * single.ts says. Infinity minus Infinity is NaN, 0 times Infinity is 0.
 *
 * All rests on sums whose rounding error can be computed. Drivers do simplify such sums away (Mesa's does), so `rounded` hides
 * the intermediate results from them.
 */
import { ln2 } from '../kernel/coefficients.js';
import type { LibraryFunction } from './library.js';
import { literal, singleLiteral } from './types.js';

/** ln 2 as a sum of three f32, of which the first two times a whole number below 512 are exact. */
const ln2Parts = [ln2.f32.high, Math.floor((Math.LN2 - ln2.f32.high) * 2 ** 29) / 2 ** 29].reduce<number[]>(
  (parts, part, i) => [...parts.slice(0, i), part, Math.LN2 - ln2.f32.high - (i === 0 ? 0 : part)],
  [],
);
const [ln2High, ln2Middle, ln2Low] = ln2Parts.map(singleLiteral);
const [quarterHigh, quarterMiddle, quarterLow] = ln2Parts.map((part) => singleLiteral(part / 4));
const double = (value: number): string => literal('f64', value);

export const doubleFunctions: readonly LibraryFunction[] = [
  {
    name: 'quick_sum',
    text: `// a + b as a Double, for |a| >= |b|.
fn quick_sum(a: f32, b: f32) -> Double {
  let total = rounded(a + b);
  return Double(total, b - rounded(total - a));
}`,
  },
  {
    name: 'exact_sum',
    text: `// a + b as a Double.
fn exact_sum(a: f32, b: f32) -> Double {
  let swap = abs(a) < abs(b);
  return quick_sum(select(a, b, swap), select(b, a, swap));
}`,
  },
  {
    name: 'exact_product',
    text: `// a * b as a Double: the four products of 12-bit halves are exact.
fn exact_product(a: f32, b: f32) -> Double {
  let a_head = bitcast<f32>(bitcast<u32>(a) & 0xfffff000u);
  let b_head = bitcast<f32>(bitcast<u32>(b) & 0xfffff000u);
  let a_rest = a - a_head;
  let b_rest = b - b_head;
  let total = rounded(a * b);
  let error = rounded(a_head * b_head - total);
  return Double(total, ((error + a_head * b_rest) + a_rest * b_head) + a_rest * b_rest);
}`,
  },
  {
    name: 'finite_double',
    text: `// The one form of infinity.
fn finite_double(a: Double) -> Double {
  return select(a, Double(select(-INFINITE, INFINITE, a.x > 0.0), 0.0), abs(a.x) >= HUGE);
}`,
  },
  {
    name: 'load_double',
    text: `// A Double from memory outside of kernels.
fn load_double(a: Double) -> Double {
  let high = finite(a.x);
  return Double(high, select(a.y, 0.0, abs(high) >= HUGE));
}`,
  },
  {
    name: 'result_double',
    text: `// The way out: +-Infinity for +-1e30.
fn result_double(a: Double) -> Double {
  return Double(result(a.x), select(a.y, 0.0, abs(a.x) >= HUGE || is_nan(a.x)));
}`,
  },
  {
    name: 'double_of_index',
    text: `fn double_of_index(i: i32) -> Double {
  let high = f32(i);
  return Double(high, f32(i - i32(high)));
}`,
  },
  {
    name: 'equal_double',
    text: `fn equal_double(a: Double, b: Double) -> bool {
  return a.x == b.x && a.y == b.y;
}`,
  },
  {
    name: 'less_double',
    text: `fn less_double(a: Double, b: Double) -> bool {
  return a.x < b.x || (a.x == b.x && a.y < b.y);
}`,
  },
  {
    name: 'less_or_equal_double',
    text: `fn less_or_equal_double(a: Double, b: Double) -> bool {
  return a.x < b.x || (a.x == b.x && a.y <= b.y);
}`,
  },
  {
    name: 'add_double',
    text: `fn add_double(a: Double, b: Double) -> Double {
  let high = exact_sum(a.x, b.x);
  let sum = finite_double(quick_sum(high.x, high.y + (a.y + b.y)));
  // Only Infinity and -Infinity are that far apart.
  return select(sum, Double(nan(), 0.0), abs(a.x - b.x) > 1.5e30);
}`,
  },
  {
    name: 'sub_double',
    text: `fn sub_double(a: Double, b: Double) -> Double {
  return add_double(a, -b);
}`,
  },
  {
    name: 'mul_double',
    text: `fn mul_double(a: Double, b: Double) -> Double {
  let total = mul_f32(a.x, b.x);
  if (abs(total) >= HUGE || total == 0.0) {
    return finite_double(Double(total, 0.0));
  }
  let high = exact_product(a.x, b.x);
  return quick_sum(high.x, high.y + (a.x * b.y + a.y * b.x));
}`,
  },
  {
    name: 'div_double',
    text: `// A first quotient, and what its remainder is worth.
fn div_double(a: Double, b: Double) -> Double {
  let quotient = div_f32(a.x, b.x);
  if (max(abs(quotient), max(abs(a.x), abs(b.x))) >= HUGE || b.x == 0.0) {
    return Double(quotient, 0.0);
  }
  let rest = sub_double(a, mul_double(Double(quotient, 0.0), b));
  return quick_sum(quotient, rest.x / b.x);
}`,
  },
  {
    name: 'max_double',
    text: `fn max_double(a: Double, b: Double) -> Double {
  return select(a, b, !is_nan(a.x) && (less_double(a, b) || is_nan(b.x)));
}`,
  },
  {
    name: 'min_double',
    text: `fn min_double(a: Double, b: Double) -> Double {
  return select(a, b, !is_nan(a.x) && (less_double(b, a) || is_nan(b.x)));
}`,
  },
  {
    name: 'abs_double',
    text: `fn abs_double(a: Double) -> Double {
  return select(a, -a, a.x < 0.0);
}`,
  },
  {
    name: 'quarter_power',
    text: `// 2^(j / 4) for j from 0 to 3.
fn quarter_power(j: i32) -> Double {
  let odd = (j & 1) != 0;
  let lower = select(Double(1.0, 0.0), ${double(2 ** 0.25)}, odd);
  let upper = select(${double(Math.SQRT2)}, ${double(2 ** 0.75)}, odd);
  return select(lower, upper, j >= 2);
}`,
  },
  {
    name: 'exp_double',
    text: `// 2^(n / 4) e^r with a = n ln(2) / 4 + r: below r^3 f32 will do.
fn exp_double(a: Double) -> Double {
  if (a.x > 68.0) {
    return Double(INFINITE, 0.0);
  }
  let n = round(clamp(a.x * ${singleLiteral(4 * Math.LOG2E)}, -504.0, 508.0));
  let near = exact_sum(rounded(fma(n, -${quarterHigh}, a.x)), n * -${quarterMiddle});
  let r = exact_sum(near.x, near.y + fma(n, -${quarterLow}, a.y));
  let square = 0.5 * exact_product(r.x, r.x);
  let tail = r.x * square.x * fma(fma(fma(r.x, ${singleLiteral(1 / 360)}, ${singleLiteral(1 / 60)}), r.x, ${singleLiteral(1 / 12)}), r.x, ${singleLiteral(1 / 3)});
  let linear = quick_sum(1.0, r.x);
  let sum = quick_sum(linear.x, square.x);
  let power = quick_sum(sum.x, (linear.y + sum.y) + (fma(r.x, r.y, square.y) + (r.y + tail)));
  let quarters = i32(n);
  let factor = quarter_power(quarters & 3);
  let high = exact_product(power.x, factor.x);
  let whole = quick_sum(high.x, high.y + (power.x * factor.y + power.y * factor.x));
  return select(whole * power_of_two(quarters >> 2u), Double(0.0, 0.0), a.x < -87.0);
}`,
  },
  {
    name: 'expm1_double',
    text: `fn expm1_double(a: Double) -> Double {
  if (abs(a.x) > 0.34) {
    return add_double(exp_double(a), Double(-1.0, 0.0));
  }
  return quick_sum(a.x, a.y + expm1_tail(a.x));
}`,
  },
  {
    name: 'log_of_quarters',
    text: `// log(1 + j / 4) for j from -1 to 4.
fn log_of_quarters(j: i32) -> Double {
  let lower = select(select(${double(Math.log(1.25))}, Double(0.0, 0.0), j == 0), ${double(Math.log(0.75))}, j < 0);
  let upper = select(select(${double(Math.LN2)}, ${double(Math.log(1.75))}, j == 3), ${double(Math.log(1.5))}, j == 2);
  return select(lower, upper, j >= 2);
}`,
  },
  {
    name: 'log_near_one',
    text: `// log(1 + f) for 0.7 <= 1 + f <= 2: log c + 2 atanh(s) with s = (1 + f - c) / (1 + f + c), c the nearest quarter. Below s^3 f32 will do.
fn log_near_one(f: Double) -> Double {
  let j = round(4.0 * f.x);
  let above = quick_sum(rounded(f.x - 0.25 * j), f.y);
  let below = quick_sum(2.0 + 0.25 * j, f.x);
  let inverse = 1.0 / below.x;
  let s = rounded(above.x * inverse);
  let product = exact_product(s, below.x);
  let rest = inverse * (((above.x - product.x) - product.y) + (above.y - s * (below.y + f.y)));
  let whole_s = s + rest;
  let square = whole_s * whole_s;
  let tail = whole_s * square * fma(fma(fma(square, ${singleLiteral(2 / 9)}, ${singleLiteral(2 / 7)}), square, ${singleLiteral(2 / 5)}), square, ${singleLiteral(2 / 3)});
  let log_c = log_of_quarters(i32(j));
  let sum = exact_sum(log_c.x, 2.0 * s);
  return quick_sum(sum.x, sum.y + (log_c.y + (2.0 * rest + tail)));
}`,
  },
  {
    name: 'log_double',
    text: `// k ln 2 + log(1 + f) with a = 2^k (1 + f).
fn log_double(a: Double) -> Double {
  if (is_nan(a.x) || a.x >= HUGE) {
    return a;
  }
  if (a.x <= 0.0) {
    return Double(select(nan(), -INFINITE, a.x == 0.0), 0.0);
  }
  let bits = bitcast<i32>(a.x);
  let k = (bits - 0x3f3504f3) >> 23u; // counted from sqrt(1/2)
  let scale = bitcast<f32>(bits - (k << 23u));
  let near = log_near_one(Double(scale - 1.0, a.y / a.x * scale));
  let high = exact_sum(f32(k) * ${ln2High}, near.x);
  let middle = exact_sum(high.x, f32(k) * ${ln2Middle});
  return quick_sum(middle.x, middle.y + (high.y + fma(f32(k), ${ln2Low}, near.y)));
}`,
  },
  {
    name: 'log1p_double',
    text: `fn log1p_double(a: Double) -> Double {
  return log_double(add_double(Double(1.0, 0.0), a));
}`,
  },
  {
    name: 'sqrt_double',
    text: `// One step of Newton's method from the f32 root.
fn sqrt_double(a: Double) -> Double {
  let root = sqrt_f32(a.x);
  if (root == 0.0 || root >= HUGE) {
    return Double(root, 0.0);
  }
  let rest = sub_double(a, exact_product(root, root));
  return quick_sum(root, rest.x / (2.0 * root));
}`,
  },
  {
    name: 'tanh_double',
    text: `// tanh |a| = -m / (2 + m) with m = e^(-2 |a|) - 1.
fn tanh_double(a: Double) -> Double {
  let m = expm1_double(-2.0 * abs_double(a));
  let size = div_double(-m, add_double(Double(2.0, 0.0), m));
  return select(size, -size, a.x < 0.0);
}`,
  },
  {
    name: 'sigmoid_double',
    text: `// e^min(a, 0) / (1 + e^-|a|): neither overflows.
fn sigmoid_double(a: Double) -> Double {
  let one = Double(1.0, 0.0);
  let small = exp_double(-abs_double(a));
  return div_double(select(one, small, a.x < 0.0), add_double(one, small));
}`,
  },
  {
    name: 'softplus_double',
    text: `// max(a, 0) + log(1 + e^-|a|).
fn softplus_double(a: Double) -> Double {
  return add_double(select(a, Double(0.0, 0.0), a.x < 0.0), log_near_one(exp_double(-abs_double(a))));
}`,
  },
  {
    name: 'log_add_exp_double',
    text: `// log(e^a + e^b) = max(a, b) + log(1 + e^-|a - b|).
fn log_add_exp_double(a: Double, b: Double) -> Double {
  let gap = exact_sum(a.x, -b.x); // 0 between infinities of one sign
  return add_double(max_double(a, b), log_near_one(exp_double(-abs_double(quick_sum(gap.x, gap.y + (a.y - b.y))))));
}`,
  },
];
