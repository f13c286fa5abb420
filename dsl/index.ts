/**
 * The language: what a spec imports from 'trellis-jit/dsl'.
 *
 * A spec says what one utterance's loss is, as equations over index domains or as the arcs of a lattice. The compiler reads it; it also runs as the
 * plain TypeScript it is, in float64 (`evaluateReference`).
 */
export { arc, lattice } from './arcs.js';
export { defineLoss, f32, i32 } from './define.js';
export { type Dim, evalDim, parseDim } from './dims.js';
export { type FieldOptions, field, recurrence } from './fields.js';
export {
  abs,
  exp,
  expm1,
  floorDiv,
  log,
  log1p,
  logAddExp,
  logSumExp,
  logZero,
  max,
  maxOver,
  min,
  minOver,
  sigmoid,
  softplus,
  sqrt,
  sum,
  tanh,
} from './math.js';
export { evaluateReference } from './reference.js';
export { logSoftmax, type SoftmaxOptions } from './softmax.js';
export type {
  Arc,
  ArcOptions,
  Equations,
  Field,
  Field1,
  Field2,
  Field3,
  Field4,
  FieldView,
  Input,
  InputSpec,
  InputSpecs,
  IntOptions,
  Lattice,
  LatticeOptions,
  LengthSpecs,
  LogProbabilities,
  LossDefinition,
  LossHeader,
  ParamSpecs,
  ReferenceResult,
  StaticSpecs,
  TensorView,
  Utterance,
} from './types.js';
