/**
 * The functions a cell may call besides operators: the primitives under their own names, and reductions over an index.
 * `Math.exp`, `Math.log` and so on mean the same. All are total: NaN in, NaN out.
 */
import { logAddExp2, operations, primitives, reductions } from './primitives.js';

/** log 0: the value of what has no path. */
export const logZero = Number.NEGATIVE_INFINITY;

export const exp = (a: number): number => Math.exp(a);
/** e^a - 1, exact near 0. */
export const expm1 = (a: number): number => Math.expm1(a);
/** Natural logarithm; log(0) is -Infinity. */
export const log = (a: number): number => Math.log(a);
/** log(1 + a), exact near 0. */
export const log1p = (a: number): number => Math.log1p(a);
export const sqrt = (a: number): number => Math.sqrt(a);
export const abs = (a: number): number => Math.abs(a);
export const tanh = (a: number): number => Math.tanh(a);
/** 1 / (1 + e^-a). */
export const sigmoid = (a: number): number => primitives.sigmoid.f64(a);
/** log(1 + e^a). */
export const softplus = (a: number): number => primitives.softplus.f64(a);
/**
 * a / divisor, rounded down: floorDiv(-1, 2) is -1. Of integers, and so an index: of 2U + 1 places, place s belongs to floorDiv(s, 2).
 * @throws Error where a is no integer, or the divisor none of 1, 2, 3, ...
 */
export function floorDiv(a: number, divisor: number): number {
  if (!Number.isInteger(a)) throw new Error(`floorDiv(${a}, ${divisor}): ${a} is not an integer`);
  if (!Number.isInteger(divisor) || divisor < 1) {
    throw new Error(`floorDiv(${a}, ${divisor}): the divisor is ${divisor}; it must be one of 1, 2, 3, ...`);
  }
  return operations.floorDiv.f64(a, divisor);
}
/** The smallest argument; Infinity of none. */
export const min = (...values: number[]): number => Math.min(...values);
/** The largest argument; -Infinity of none. */
export const max = (...values: number[]): number => Math.max(...values);
/** log(e^a + e^b + ...), from left to right, without overflow; log 0 of none. */
export function logAddExp(...values: number[]): number {
  let total = logZero;
  for (const value of values) total = logAddExp2(total, value);
  return total;
}

function checkExtent(name: string, extent: number): void {
  if (!Number.isInteger(extent)) {
    throw new Error(`${name}(${extent}, ...): the extent is ${extent}; it must be an integer, such as V or U + 1`);
  }
}

/** Sum of body(i) for i in [0, extent); 0 when that is empty. */
export function sum(extent: number, body: (i: number) => number): number {
  checkExtent('sum', extent);
  let total: number = reductions.sum.empty;
  for (let i = 0; i < extent; i++) total += body(i);
  return total;
}

/** Largest body(i) for i in [0, extent); -Infinity when that is empty. */
export function maxOver(extent: number, body: (i: number) => number): number {
  checkExtent('maxOver', extent);
  let best: number = reductions.max.empty;
  for (let i = 0; i < extent; i++) best = Math.max(best, body(i));
  return best;
}

/** Smallest body(i) for i in [0, extent); Infinity when that is empty. */
export function minOver(extent: number, body: (i: number) => number): number {
  checkExtent('minOver', extent);
  let best: number = reductions.min.empty;
  for (let i = 0; i < extent; i++) best = Math.min(best, body(i));
  return best;
}

/** log of the sum of e^body(i) for i in [0, extent), without overflow; log 0 when that is empty. */
export function logSumExp(extent: number, body: (i: number) => number): number {
  checkExtent('logSumExp', extent);
  // The values are kept, because a body may be dear and its maximum is needed before the first exp.
  const values = new Float64Array(Math.max(0, extent));
  let high = logZero;
  for (let i = 0; i < extent; i++) {
    const value = body(i);
    values[i] = value;
    high = Math.max(high, value);
  }
  if (!Number.isFinite(high)) return high;
  let total = 0;
  for (const value of values) total += Math.exp(value - high);
  return high + Math.log(total);
}
