/** The words of the language, by the name `trellis-jit/dsl` exports them under, and the JavaScript globals it shares. */
import { type OperationName, operations, type PrimitiveName, type ReductionName } from '../../dsl/primitives.js';

/** Functions of one number. */
export const unaryWords: Readonly<Record<string, PrimitiveName>> = {
  exp: 'exp',
  expm1: 'expm1',
  log: 'log',
  log1p: 'log1p',
  sqrt: 'sqrt',
  abs: 'abs',
  tanh: 'tanh',
  sigmoid: 'sigmoid',
  softplus: 'softplus',
};
/** Functions of any number of numbers, folded from the left, and their value over none. */
export const foldWords: Readonly<Record<string, { readonly primitive: PrimitiveName; readonly empty: number }>> = {
  min: { primitive: 'min', empty: Number.POSITIVE_INFINITY },
  max: { primitive: 'max', empty: Number.NEGATIVE_INFINITY },
  logAddExp: { primitive: 'logAddExp', empty: Number.NEGATIVE_INFINITY },
};
/** Reductions over an index: name(extent, (i) => expression). */
export const reductionWords: Readonly<Record<string, ReductionName>> = {
  sum: 'sum',
  maxOver: 'max',
  minOver: 'min',
  logSumExp: 'logSumExp',
};
/** Functions of ints. */
export const intWords = ['floorDiv'] as const;
export const formWords = ['defineLoss', 'f32', 'i32', 'field', 'recurrence', 'lattice', 'arc', 'logSoftmax'] as const;
export const constantWords: Readonly<Record<string, number>> = { logZero: Number.NEGATIVE_INFINITY };

export const vocabulary: ReadonlySet<string> = new Set([
  ...formWords,
  ...Object.keys(reductionWords),
  ...Object.keys(foldWords),
  ...Object.keys(unaryWords),
  ...intWords,
  ...Object.keys(constantWords),
]);

/** What may be read off `Math`: the functions the language also has, and three constants. */
export const mathFunctions = ['exp', 'expm1', 'log', 'log1p', 'sqrt', 'abs', 'tanh', 'min', 'max'] as const;
export const mathConstants: Readonly<Record<string, number>> = { LN2: Math.LN2, PI: Math.PI, E: Math.E };
export const numberConstants: Readonly<Record<string, number>> = {
  NEGATIVE_INFINITY: Number.NEGATIVE_INFINITY,
  POSITIVE_INFINITY: Number.POSITIVE_INFINITY,
};

/** Globals that would make two readings of one spec differ, or reach outside of it. */
export const impureGlobals: ReadonlySet<string> = new Set(
  'Date performance process console crypto globalThis window fetch setTimeout require eval Reflect Proxy'.split(' '),
);

/** The meaning of a primitive on numbers that are known while reading. */
export const primitiveOf = (name: OperationName, a: number, b = 0): number => operations[name].f64(a, b);
