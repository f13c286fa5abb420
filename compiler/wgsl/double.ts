/**
 * Functions on `Double`: a real number as the unevaluated sum of two f32, x the rounded value and y what is left.
 *
 * Sums, differences, products and quotients carry about 46 bits. Transcendental functions give what their f32 argument and
 * result deserve, 24 bits or a little more, but log, logAddExp and softplus add that to an exact large part: their error is
 * absolute, below 1e-7, and does not grow with the magnitude of log weights, which is what keeps gradients
 * right on long lattices. The range is that of f32; infinities and NaN are as single.ts says. Infinity minus Infinity is
 * NaN, 0 times Infinity is 0.
 *
 * All rests on sums whose rounding error can be computed. Drivers do simplify such sums away (Mesa's does), so `rounded` hides
 * the intermediate results from them.
 */
import { ln2 } from '../kernel/coefficients.js';
import type { LibraryFunction } from './library.js';
import { singleLiteral } from './types.js';

const ln2High = singleLiteral(ln2.f32.high);
const ln2Low = singleLiteral(ln2.f32.low);
const [ln2Head, ln2Rest] = [Math.fround(Math.LN2), Math.LN2 - Math.fround(Math.LN2)].map(singleLiteral);

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
    name: 'exp_double',
    text: `// 2^k e^r with a = k ln 2 + r.
fn exp_double(a: Double) -> Double {
  if (a.x > 68.0) {
    return Double(INFINITE, 0.0);
  }
  let k = octaves(a.x);
  let r = fma(k, -${ln2Low}, rounded(fma(k, -${ln2High}, a.x))) + a.y;
  let power = quick_sum(1.0, r + expm1_tail(r)) * power_of_two(i32(k));
  return select(power, Double(0.0, 0.0), a.x < -87.0);
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
    name: 'log_double',
    text: `// k ln 2 + f + (log(1 + f) - f) with a = 2^k (1 + f): only the last term is rounded.
fn log_double(a: Double) -> Double {
  if (is_nan(a.x) || a.x >= HUGE) {
    return a;
  }
  if (a.x <= 0.0) {
    return Double(select(nan(), -INFINITE, a.x == 0.0), 0.0);
  }
  let bits = bitcast<i32>(a.x);
  let k = (bits - 0x3f3504f3) >> 23u; // counted from sqrt(1/2)
  let f = bitcast<f32>(bits - (k << 23u)) - 1.0;
  let sum = exact_sum(f32(k) * ${ln2High}, f);
  return quick_sum(sum.x, sum.y + (log1p_tail(f) + (a.y / a.x + f32(k) * ${ln2Low})));
}`,
  },
  {
    name: 'log1p_double',
    text: `fn log1p_double(a: Double) -> Double {
  return log_double(add_double(Double(1.0, 0.0), a));
}`,
  },
  {
    name: 'log1p_exp_double',
    text: `// log(1 + e^x) for x <= 0: y = e^x lies between 0 and 1, and log(1 + y) = log 2 + log(1 + (y - 1) / 2) in its upper part.
fn log1p_exp_double(x: f32) -> Double {
  let y = exp_precise_f32(x);
  let upper = y > 0.41421357;
  let f = select(y, 0.5 * y - 0.5, upper);
  let log_1_f = f + log1p_tail(f);
  if (upper) {
    return quick_sum(${ln2Head}, log_1_f + ${ln2Rest});
  }
  return Double(log_1_f, 0.0);
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
  return add_double(select(a, Double(0.0, 0.0), a.x < 0.0), log1p_exp_double(-abs(a.x + a.y)));
}`,
  },
  {
    name: 'log_add_exp_double',
    text: `// log(e^a + e^b) = max(a, b) + log(1 + e^-|a - b|).
fn log_add_exp_double(a: Double, b: Double) -> Double {
  let gap = abs(rounded(a.x - b.x) + (a.y - b.y));
  return add_double(max_double(a, b), log1p_exp_double(-gap));
}`,
  },
];
