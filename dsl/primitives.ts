/**
 * The scalar operations of the language: one row each, with its arity and its meaning in float64.
 *
 * A primitive means one thing. The reference device calls `f64` directly, the kernel interpreter
 * calls it too, and every table of a backend is a `Record<PrimitiveName, ...>`, so the type
 * checker finds a backend that forgot one.
 */

export interface Primitive {
  /** Number of operands. */
  readonly arity: 1 | 2;
  /** Exact meaning, up to float64 rounding. NaN operands give NaN. */
  readonly f64: (a: number, b: number) => number;
  /** One line for the documentation and for diagnostics. */
  readonly doc: string;
}

/** log(e^a + e^b) without overflow; -Infinity is log 0 and is the neutral element. */
export function logAddExp2(a: number, b: number): number {
  const high = Math.max(a, b); // NaN if either is NaN
  if (high === Number.NEGATIVE_INFINITY || high === Number.POSITIVE_INFINITY) return high;
  return high + Math.log1p(Math.exp(-Math.abs(a - b)));
}

export const primitives = {
  add: { arity: 2, f64: (a, b) => a + b, doc: 'a + b' },
  sub: { arity: 2, f64: (a, b) => a - b, doc: 'a - b' },
  mul: { arity: 2, f64: (a, b) => a * b, doc: 'a * b' },
  div: { arity: 2, f64: (a, b) => a / b, doc: 'a / b' },
  neg: { arity: 1, f64: (a) => -a, doc: '-a' },
  min: { arity: 2, f64: (a, b) => Math.min(a, b), doc: 'the smaller; NaN if either is NaN' },
  max: { arity: 2, f64: (a, b) => Math.max(a, b), doc: 'the larger; NaN if either is NaN' },
  abs: { arity: 1, f64: (a) => Math.abs(a), doc: '|a|' },
  exp: { arity: 1, f64: (a) => Math.exp(a), doc: 'e^a' },
  expm1: { arity: 1, f64: (a) => Math.expm1(a), doc: 'e^a - 1, exact near 0' },
  log: { arity: 1, f64: (a) => Math.log(a), doc: 'natural logarithm; log 0 is -Infinity' },
  log1p: { arity: 1, f64: (a) => Math.log1p(a), doc: 'log(1 + a), exact near 0' },
  sqrt: { arity: 1, f64: (a) => Math.sqrt(a), doc: 'square root' },
  tanh: { arity: 1, f64: (a) => Math.tanh(a), doc: 'hyperbolic tangent' },
  sigmoid: {
    arity: 1,
    f64: (a) => (a >= 0 ? 1 / (1 + Math.exp(-a)) : Math.exp(a) / (1 + Math.exp(a))),
    doc: '1 / (1 + e^-a)',
  },
  softplus: {
    arity: 1,
    f64: (a) => Math.max(a, 0) + Math.log1p(Math.exp(-Math.abs(a))),
    doc: 'log(1 + e^a)',
  },
  logAddExp: { arity: 2, f64: logAddExp2, doc: 'log(e^a + e^b)' },
} satisfies Record<string, Primitive>;

/** Every other table over primitives is a `Record` over this. */
export type PrimitiveName = keyof typeof primitives;

/** Operations that there are on ints alone. Kernels have integer arithmetic of their own, so they are in no table of a backend. */
const intOperations = {
  floorDiv: { arity: 2, f64: (a, b) => Math.floor(a / b) + 0, doc: 'a / b rounded down, b at least 1' }, // + 0: no -0
} satisfies Record<string, Primitive>;

/** All operations of the language. */
export const operations = { ...primitives, ...intOperations };
export type OperationName = keyof typeof operations;

/** What ints have. */
export const onInts: ReadonlySet<OperationName> = new Set(['add', 'sub', 'mul', 'neg', 'min', 'max', 'floorDiv']);

/** Reductions over an index: how two partial results combine, and the result over no index at all. */
export const reductions = {
  sum: { combine: 'add', empty: 0 },
  max: { combine: 'max', empty: Number.NEGATIVE_INFINITY },
  min: { combine: 'min', empty: Number.POSITIVE_INFINITY },
  logSumExp: { combine: 'logAddExp', empty: Number.NEGATIVE_INFINITY },
} as const satisfies Record<string, { combine: PrimitiveName; empty: number }>;

export type ReductionName = keyof typeof reductions;
