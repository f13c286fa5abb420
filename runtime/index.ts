/**
 * trellis-jit: transducer losses written as equations, compiled to native code.
 *
 * `RNNTLoss` and `rnntLoss` are the RNN-T loss, other losses are classes as well; `loadLoss` runs any spec.
 */
import './devices.js';
import './webgpu-names.js';

export { SpecError } from '../compiler/source.js';
export type { AlignedLabel, Alignment, AlignResult, PathStep } from './align.js';
export type { CacheEntry, CacheStats } from './cache.js';
export {
  type Batch,
  type Device,
  type DeviceFactory,
  type DeviceOptions,
  type DeviceSpec,
  deviceNames,
  type GpuAccess,
  type Runner,
  registerDevice,
  type ShapeClass,
} from './device.js';
export { type ErrorCode, InputError, TrellisError } from './errors.js';
export type { Float16ArrayLike, HalfArray, HalfDType } from './half.js';
export { loadLoss } from './load.js';
export {
  type Gradient,
  type GradientData,
  Loss,
  type LossArgument,
  type LossResult,
  type TensorBundle,
} from './loss.js';
export {
  type ActsTensors,
  AdditiveRNNTLoss,
  type AdditiveRNNTLossOptions,
  type AdditiveTensors,
  CTCLoss,
  type CTCLossOptions,
  type CTCTensors,
  HATLoss,
  type HATLossOptions,
  MonotonicRNNTLoss,
  type MonotonicRNNTLossOptions,
  MultiblankRNNTLoss,
  type MultiblankRNNTLossOptions,
  type NamedArguments,
  NamedLoss,
  PrunedRNNTLoss,
  type PrunedRNNTLossOptions,
  type PrunedTensors,
} from './named-losses.js';
export type { CallOptions, CommonOptions, DeviceChoice, Infeasible, LossOptions } from './options.js';
export { type PruneOptions, type PruningPosteriors, pruneRanges } from './prune.js';
export { type Reduction, reductionNames } from './reduction.js';
export { RNNTLoss, type RNNTLossOptions, rnntLoss } from './rnnt-loss.js';
export type { LatticeSignature, SpecSignature } from './signature.js';
export { findSpec, listSpecs, type SpecInfo } from './specs.js';
export { TDTLoss, type TDTLossOptions } from './tdt-loss.js';
export type { GpuTensor, NestedNumbers, RealArray, Tensor, TensorLike, TypedArray } from './tensor.js';
