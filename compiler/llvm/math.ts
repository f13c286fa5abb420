/**
 * The language's primitives in LLVM IR: instructions where there is one, otherwise our own functions, written as
 * `define internal ... alwaysinline` for the type at hand and only when used.
 *
 * Error bounds in f32 and f64, with and without fused multiply-add (tested in test/llvm/math.test.ts): 2 ulp for exp, expm1,
 * log, log1p and softplus, 3 ulp for tanh and sigmoid. logAddExp: 2 ulp of the largest of the result, the larger operand
 * and what is added to it, and |a - b| / 2 more, which is the rounding of the difference of the operands; in f64 also
 * 2^-32 times what is added.
 * Results below the normal range become 0 (no subnormal results); subnormal arguments are understood.
 * NaN in gives NaN out, and infinities behave as in the limits.
 */
import type { PrimitiveName } from '../../dsl/primitives.js';
import {
  atanhTail,
  atanhWide,
  expShort,
  expStep,
  expStepShort,
  expTail,
  ln2,
  log1pShort,
  logTail,
  powersOfTwo,
} from '../kernel/coefficients.js';
import { Arithmetic, formats, type Precision } from './arithmetic.js';
import { mangled, vectorOf } from './types.js';
import { FunctionWriter, type ModuleParts } from './writer.js';

type Write = (m: Arithmetic, ...args: string[]) => string;

/** What each primitive becomes: instructions in place, or a call of a function with the given body. */
const primitives: Record<PrimitiveName, { inline: Write } | { body: Write }> = {
  add: { inline: (m, a, b) => m.add(a!, b!) },
  sub: { inline: (m, a, b) => m.sub(a!, b!) },
  mul: { inline: (m, a, b) => m.mul(a!, b!) },
  div: { inline: (m, a, b) => m.div(a!, b!) },
  neg: { inline: (m, a) => m.neg(a!) },
  abs: { inline: (m, a) => m.abs(a!) },
  sqrt: { inline: (m, a) => m.sqrt(a!) },
  min: { body: (m, a, b) => extreme(m, 'olt', a!, b!) },
  max: { body: (m, a, b) => extreme(m, 'ogt', a!, b!) },
  exp: { body: (m, x) => exp(m, x!) },
  expm1: { body: (m, x) => expm1(m, x!) },
  log: { body: (m, x) => log(m, x!) },
  log1p: { body: (m, x) => log1p(m, x!) },
  tanh: { body: (m, x) => tanh(m, x!) },
  sigmoid: { body: (m, x) => sigmoid(m, x!) },
  softplus: { body: (m, x) => softplus(m, x!) },
  logAddExp: { body: (m, a, b) => logAddExp(m, a!, b!) },
};

/** Emits primitive `name` on values of the given precision; `lanes` 0 for scalars. Returns the result's text. */
export function emitPrimitive(
  writer: FunctionWriter,
  name: PrimitiveName,
  precision: Precision,
  lanes: number,
  args: readonly string[],
): string {
  const how = primitives[name];
  const real = vectorOf(formats[precision].real, lanes);
  if ('inline' in how) return how.inline(new Arithmetic(writer, precision, lanes), ...args);
  const symbol = `${name}.${mangled(formats[precision].real, lanes)}`;
  const called = writer.parts.define(symbol, () => {
    const names = args.length === 1 ? ['x'] : ['a', 'b'];
    return defineInline(writer.parts, symbol, real, names, real, (inner) =>
      how.body(new Arithmetic(inner, precision, lanes), ...names.map((arg) => `%${arg}`)),
    );
  });
  return writer.emit(name, `call ${real} ${called}(${args.map((arg) => `${real} ${arg}`).join(', ')})`);
}

/** Text of an internal function that is always inlined; `write` returns the value of its result. */
export function defineInline(
  parts: ModuleParts,
  symbol: string,
  result: string,
  names: readonly string[],
  argument: string,
  write: (writer: FunctionWriter) => string,
): string {
  const writer = new FunctionWriter(parts, names);
  const value = write(writer);
  const list = names.map((name) => `${argument} %${name}`).join(', ');
  return `define internal ${result} @${symbol}(${list}) #1 {\n${writer.text}\n  ret ${result} ${value}\n}`;
}

/**
 * The larger or smaller; NaN if either is. The inner select is one instruction on x86 and gives b when either is NaN, so
 * only a NaN in a is missing, and of a literal LLVM knows that it is none. Putting back a constant, not a, keeps LLVM from
 * melting the two selects into a longer one.
 */
function extreme(m: Arithmetic, op: 'ogt' | 'olt', a: string, b: string): string {
  const better = m.select(m.compare(op, a, b), a, b);
  return m.select(m.compare('uno', a, a, 'isNaN'), m.constant(Number.NaN), better);
}

/** Where exp leaves the normal range, and ln 2 related constants. */
const range = {
  f32: { overflow: 88.72283172607422, underflow: -87.33654022216797, expm1Low: -20 },
  f64: { overflow: 709.782712893384, underflow: -708.3964185322641, expm1Low: -45 },
} as const;

interface Reduced {
  /** x - n ln 2, at most a step times ln(2)/2 in size. */
  readonly r: string;
  /** x / ln 2, rounded to a step. */
  readonly n: string;
  /** A real whose low bits are the number of steps in n. */
  readonly shifted: string;
}

/**
 * x = n ln 2 + r, with `steps` of them in a whole n; `parts`: ln 2, as a sum. Adding a number so large that the last bit of the sum
 * is one step leaves n in the low bits, rounded.
 */
function reduce(m: Arithmetic, x: string, parts: readonly number[] = wholeLn2(m), steps = 1): Reduced {
  const magic = m.constant((1.5 * 2 ** formats[m.precision].mantissa) / steps);
  const shifted = m.fma(x, m.constant(Math.LOG2E), magic, 'shifted');
  const n = m.sub(shifted, magic, 'n');
  const r = parts.reduce((rest, part) => m.fma(n, m.constant(-part), rest, 'r'), x);
  return { r, n, shifted };
}

const wholeLn2 = ({ precision }: Arithmetic): number[] => [ln2[precision].high, ln2[precision].low];

/** 2^n times a real near 1, by adding n to its exponent. Right while the result is in the normal range. */
function scale(m: Arithmetic, value: string, shifted: string): string {
  const exponent = m.integerOp(
    'shl',
    m.bits(shifted),
    m.integerConstant(BigInt(formats[m.precision].mantissa)),
    'exponent',
  );
  return m.fromBits(m.integerOp('add', m.bits(value), exponent, 'scaledBits'), 'scaled');
}

/** e^r for a reduced r: 1 + r + r^2 P(r). */
function expReduced(m: Arithmetic, r: string): string {
  if (m.precision === 'f32') return m.horner(r, [1, 1, ...expTail.f32]);
  const tail = m.estrin(r, expTail.f64);
  const square = m.mul(r, r, 'square');
  return m.add(m.constant(1), m.fma(square, tail, r));
}

function exp(m: Arithmetic, x: string): string {
  if (m.hasScalef) return expBySteps(m, x);
  const { r, shifted } = reduce(m, x);
  const scaled = scale(m, expReduced(m, r), shifted);
  const under = m.compare('olt', x, m.constant(range[m.precision].underflow), 'under');
  // NaN, +Infinity and numbers that overflow: x + Infinity is NaN, Infinity and Infinity.
  const over = m.compare('ugt', x, m.constant(range[m.precision].overflow), 'over');
  const high = m.select(over, m.add(x, m.constant(Number.POSITIVE_INFINITY)), scaled);
  return m.select(under, m.constant(0), high);
}

interface Steps extends Reduced {
  /** 2^(n - floor(n)). */
  readonly power: string;
}

/**
 * x = n ln 2 + r for vectors that `scalef` and `lookup` are instructions for: the whole part of n is for scalef, and for the rest, steps
 * of 1/32 in f32 and of 1/16 in f64, there is a table, so that r is small and few coefficients are enough.
 */
function reduceToSteps(m: Arithmetic, x: string, parts?: readonly number[]): Steps {
  const table = powersOfTwo[m.precision];
  const reduced = reduce(m, x, parts, table.length);
  return { ...reduced, power: m.lookup(table, m.bits(reduced.shifted)) };
}

/** Times 2^floor(n) it is e^x. */
function stepped(m: Arithmetic, { r, power }: Steps, coefficients: readonly number[]): string {
  return m.fma(m.mul(power, r), m.horner(r, coefficients), power, 'value');
}

/** e^x in as few products as will do, because products and comparisons share what limits the loops over rows. */
function expBySteps(m: Arithmetic, x: string): string {
  const steps = reduceToSteps(m, x);
  const value = stepped(m, steps, expStep[m.precision]);
  // Infinity makes r NaN, which counts for nothing where n is infinite. Where n is too large to be exact r is of any size, but the
  // polynomial 1 + r P(r), of even degree, is above 0 everywhere, and what scalef makes of it is Infinity.
  const under = m.compare('olt', x, m.constant(range[m.precision].underflow), 'under');
  return m.select(under, m.constant(0), m.scalef(value, steps.n));
}

/** e^r - 1 = q is kept apart from 1: 2^n e^r - 1 = 2 (2^(n-1) q + (2^(n-1) - 1/2)). */
function expm1(m: Arithmetic, argument: string): string {
  const { mantissa, bias } = formats[m.precision];
  // Below this the result is -1; NaN stays, because the comparison is then false.
  const lowest = m.constant(range[m.precision].expm1Low);
  const x = m.select(m.compare('olt', argument, lowest), lowest, argument, 'x');
  const { r, shifted } = reduce(m, x);
  const q = m.fma(m.mul(r, r, 'square'), m.polynomial(r, expTail[m.precision]), r, 'q');
  const moved = m.integerOp('shl', m.bits(shifted), m.integerConstant(BigInt(mantissa)), 'exponent');
  const halfOne = m.integerConstant(BigInt(bias - 1) << BigInt(mantissa));
  const power = m.fromBits(m.integerOp('add', moved, halfOne, 'powerBits'), 'power');
  const half = m.fma(power, q, m.sub(power, m.constant(0.5)), 'half');
  const over = m.compare('ugt', x, m.constant(range[m.precision].overflow), 'over');
  return m.select(over, m.add(x, m.constant(Number.POSITIVE_INFINITY)), m.add(half, half));
}

interface Parts {
  /** The mantissa less 1, from sqrt(1/2) - 1 to sqrt(2) - 1, exactly. */
  readonly f: string;
  /** The exponent, as a real. */
  readonly k: string;
  readonly mantissa: string;
  /** The exponent's biased bits, in the low end of an integer. */
  readonly biased: string;
}

/** x = 2^k (1 + f) for positive, finite, normal x. */
function split(m: Arithmetic, x: string): Parts {
  const { mantissa: width, bias } = formats[m.precision];
  const shift = m.integerConstant(BigInt(width));
  const one = BigInt(bias) << BigInt(width);
  const rootHalf = m.precision === 'f32' ? 0x3f3504f3n : 0x3fe6a09e667f3bcdn;
  const moved = m.integerOp('add', m.bits(x), m.integerConstant(one - rootHalf), 'moved');
  const biased = m.integerOp('lshr', moved, shift, 'biased');
  const low = m.integerOp('and', moved, m.integerConstant((1n << BigInt(width)) - 1n), 'low');
  const mantissa = m.fromBits(m.integerOp('add', low, m.integerConstant(rootHalf), 'mantissaBits'), 'mantissa');
  // Small whole numbers become reals by way of the bits of 2^width, because AVX2 has no instruction for i64.
  const carrier = BigInt(bias + width) << BigInt(width);
  const k = m.sub(
    m.fromBits(m.integerOp('or', biased, m.integerConstant(carrier), 'kBits')),
    m.constant(2 ** width + bias),
    'k',
  );
  return { f: m.sub(mantissa, m.constant(1), 'f'), k, mantissa, biased };
}

/** k ln 2 + extra + log(1 + f). `extra` is small, or absent. */
function logParts(m: Arithmetic, k: string, f: string, extra?: string): string {
  const { high, low } = ln2[m.precision];
  const half = m.mul(f, m.constant(0.5), 'half');
  const halfSquare = m.mul(half, f, 'halfSquare');
  const small = extra === undefined ? m.mul(k, m.constant(low)) : m.fma(k, m.constant(low), extra);
  let correction: string;
  if (m.precision === 'f32') {
    const cube = m.mul(m.mul(f, f), f, 'cube');
    correction = m.fma(cube, m.horner(f, logTail.f32), small);
  } else {
    // With s = f / (2 + f): log(1 + f) = 2 atanh(s) = f - f^2/2 + s (f^2/2 + s^2 P(s^2)).
    const s = m.div(f, m.add(f, m.constant(2)), 's');
    const z = m.mul(s, s, 'z');
    const tail = m.fma(z, m.estrin(z, atanhTail.f64), halfSquare);
    correction = m.fma(s, tail, small);
  }
  const value = m.sub(f, m.sub(halfSquare, correction));
  return m.fma(k, m.constant(high), value);
}

function log(m: Arithmetic, x: string): string {
  const { bias, mantissa: width } = formats[m.precision];
  // Subnormal arguments are scaled into the normal range first.
  const tiny = m.compare('olt', x, m.constant(2 ** (1 - bias)), 'tiny');
  const normal = m.select(tiny, m.mul(x, m.constant(2 ** (width + 2))), x);
  const { f, k } = split(m, normal);
  const adjusted = m.add(k, m.select(tiny, m.constant(-(width + 2)), m.constant(0)), 'k');
  return logSpecial(m, x, logParts(m, adjusted, f));
}

/** `value` where x is positive and finite; else the limits: log 0 = -Infinity, log of a negative number is NaN. */
function logSpecial(m: Arithmetic, x: string, value: string): string {
  const zero = m.constant(0);
  const infinity = m.constant(Number.POSITIVE_INFINITY);
  const special = m.select(
    m.compare('oeq', x, zero),
    m.constant(Number.NEGATIVE_INFINITY),
    m.select(m.compare('olt', x, zero), m.constant(Number.NaN), x),
  );
  const isPositive = m.compare('ogt', x, zero);
  const isBelowInfinity = m.compare('olt', x, infinity);
  return m.select(isBelowInfinity, m.select(isPositive, value, special), special);
}

/**
 * log(1 + x): log of u = 1 + x, with what the rounding of u lost put back. While u needs no exponent (k = 0)
 * f is x itself; elsewhere the loss c counts as c / u, for which a rough 1 / u is enough.
 */
function log1p(m: Arithmetic, x: string): string {
  const { bias, mantissa: width } = formats[m.precision];
  const one = m.constant(1);
  const u = m.add(one, x, 'u');
  const { f, k, mantissa, biased } = split(m, u);
  const larger = m.compare('ogt', x, one);
  const lost = m.select(larger, m.sub(one, m.sub(u, x)), m.sub(x, m.sub(u, one)), 'lost');
  // 2^-k as bits: exponents add up to the bias. Large k make it 0 or garbage of a size that does not count: cut off there.
  const powerBits = m.integerOp(
    'shl',
    m.integerOp('sub', m.integerConstant(BigInt(2 * bias)), biased, 'opposite'),
    m.integerConstant(BigInt(width)),
    'inverseBits',
  );
  const inversePower = m.fromBits(powerBits, 'inversePower');
  const inverseMantissa = m.fma(mantissa, m.constant(-1.02), m.constant(2.06), 'roughInverse');
  const large = m.compare('ogt', u, m.constant(2 ** (width + 3)), 'large');
  const put = m.select(large, m.constant(0), m.mul(m.mul(lost, inversePower), inverseMantissa), 'putBack');
  const isNear = m.compare('oeq', k, m.constant(0), 'near');
  const value = logParts(m, k, m.select(isNear, x, f, 'f'), m.select(isNear, m.constant(0), put));
  return logSpecial(m, u, value);
}

/** log(1 + e^x) for x <= 0, or NaN; from 0 to ln 2. No exponent to take apart: y = e^x is at most 1. */
function log1pExp(m: Arithmetic, x: string): string {
  const { r, shifted } = reduce(m, x);
  const scaled = scale(m, expReduced(m, r), shifted);
  const under = m.compare('olt', x, m.constant(range[m.precision].underflow), 'under');
  const y = m.select(under, m.constant(0), scaled, 'y');
  // With s = y / (2 + y) <= 1/3: log(1 + y) = 2 atanh(s) = 2 s + s^3 P(s^2), and 2 s = y - s y keeps y's own digits.
  const s = m.div(y, m.add(y, m.constant(2)), 's');
  const z = m.mul(s, s, 'z');
  const rest = m.fma(m.neg(z), m.polynomial(z, atanhWide[m.precision]), y);
  return m.fma(m.neg(s), rest, y);
}

function logAddExp(m: Arithmetic, a: string, b: string): string {
  const aIsHigher = m.compare('ogt', a, b);
  const high = m.select(aIsHigher, a, b, 'high');
  const low = m.select(aIsHigher, b, a, 'low');
  const distance = m.sub(low, high, 'distance');
  const sum = m.precision === 'f32' ? m.add(high, log1pExp(m, distance)) : addShort(m, high, distance);
  // The distance is NaN for equal infinities and for NaN operands; a + b is right for all of them.
  return m.select(m.compare('uno', distance, distance), m.add(a, b), sum);
}

/**
 * high + log(1 + e^x) for x <= 0, or NaN, where what is added has 33 bits: a cell of a lattice waits for it, and what it adds up
 * are logarithms of sums in f32, with 24. No division, because on many machines it takes as long as all the rest.
 */
function addShort(m: Arithmetic, high: string, x: string): string {
  const under = m.compare('olt', x, m.constant(range.f64.underflow), 'under');
  const y = m.select(under, m.constant(0), m.hasScalef ? shortBySteps(m, x) : shortExp(m, x), 'y');
  return m.fma(y, m.estrin(y, log1pShort.f64), high);
}

function shortExp(m: Arithmetic, x: string): string {
  const { r, shifted } = reduce(m, x, [Math.LN2]);
  return scale(m, m.estrin(r, expShort.f64), shifted);
}

/** The table's power is scaled while the polynomial is still waiting for r; right up to 0, where nothing overflows. */
function shortBySteps(m: Arithmetic, x: string): string {
  const steps = reduceToSteps(m, x, [Math.LN2]);
  return stepped(m, { ...steps, power: m.scalef(steps.power, steps.n) }, expStepShort.f64);
}

function softplus(m: Arithmetic, x: string): string {
  const positive = m.select(m.compare('ogt', x, m.constant(0)), x, m.constant(0), 'positive');
  const sum = m.add(positive, log1pExp(m, m.neg(m.abs(x))));
  return m.select(m.compare('uno', x, x), x, sum);
}

function sigmoid(m: Arithmetic, x: string): string {
  return m.div(m.constant(1), m.add(m.constant(1), exp(m, m.neg(x))));
}

/** t / (t + 2) with t = e^(2|x|) - 1. From some |x| on the result is 1. */
function tanh(m: Arithmetic, x: string): string {
  const size = m.abs(x);
  const limit = m.constant(m.precision === 'f32' ? 10 : 20);
  const bounded = m.select(m.compare('ogt', size, limit), limit, size);
  const t = expm1(m, m.add(bounded, bounded));
  return m.copysign(m.div(t, m.add(t, m.constant(2))), x);
}
