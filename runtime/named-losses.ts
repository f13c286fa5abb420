/**
 * Losses under the names their users know, each a thin class over its spec: options with names and types, tensors in a fixed order.
 * What they compute is the spec's; `loadLoss` runs any spec, these too.
 */
import type { GradientData, LossArgument, LossResult, TensorBundle } from './loss.js';
import { Loss } from './loss.js';
import { type Form, type ReadForm, readForm } from './named-options.js';
import type { CallOptions, CommonOptions } from './options.js';
import { kernelsOfFile } from './spec-file.js';
import { findSpec } from './specs.js';
import type { RealArray, TensorLike } from './tensor.js';

/** Tensors in their order, or all of them in one object by name; then perhaps call options. */
export type NamedArguments<Tensors extends readonly TensorLike[]> =
  | [...tensors: Tensors, call?: CallOptions]
  | [tensors: TensorBundle, call?: CallOptions];

/** A loss whose tensors have an order that types know. */
export abstract class NamedLoss<Tensors extends readonly TensorLike[]> extends Loss {
  protected constructor(
    spec: string,
    { settings, params, statics }: Pick<ReadForm, 'settings' | 'params' | 'statics'>,
  ) {
    const given = Object.keys(statics).length > 0 ? statics : undefined;
    super(kernelsOfFile(findSpec(spec), settings.device, settings, given), settings, params);
  }

  /**
   * Costs, loss and gradients of a batch; never blocks the event loop. Tensors must not be changed before it settles.
   * @throws InputError before any kernel runs; signal.reason when aborted; TrellisError when the device is not available
   */
  override forward<Data extends GradientData = RealArray>(...args: NamedArguments<Tensors>): Promise<LossResult<Data>> {
    return super.forward<Data>(...(args as LossArgument[]));
  }

  /** As `forward`, but returns when the result is there. @throws also TrellisError 'not-supported' on devices that cannot wait */
  override forwardSync(...args: NamedArguments<Tensors>): LossResult {
    return super.forwardSync(...(args as LossArgument[]));
  }
}

/** acts [B, T, U + 1, V] float32; labels [B, U], each in 0..V - 1 and not the blank; lengths [B]. */
export type ActsTensors = [acts: TensorLike, labels: TensorLike, actLens: TensorLike, labelLens: TensorLike];

interface BlankOption {
  /** Index of the blank; a negative one counts from the end. */
  readonly blank?: number;
}
interface FastEmitOptions {
  /** FastEmit's lambda, at least 0: label arcs count (1 + lambda) times. Default 0. */
  readonly fastemitLambda?: number;
}
interface ClampOptions {
  /** Bound on each element of the gradient, before the reduction's factor. 0 or less: off. Default -1. */
  readonly clamp?: number;
}
interface UsualOptions extends CommonOptions, BlankOption, FastEmitOptions, ClampOptions {}

const usual = { blank: 0, fastemitLambda: 0, clamp: -1 } as const;

/** Blank: default 0. */
export interface MonotonicRNNTLossOptions extends UsualOptions {
  /** True: the last symbol must be a blank. Default false: a label may be the last as well. */
  readonly finalBlank?: boolean;
}

/** Monotonic RNN-T (Tripathi et al., ASRU 2019): every symbol, blank or label, consumes one frame. Specs `monotonic` and `monotonic-final`. */
export class MonotonicRNNTLoss extends NamedLoss<ActsTensors> {
  /** @throws InputError for an option that does not exist or cannot have its value */
  constructor(options?: MonotonicRNNTLossOptions) {
    const read = readForm({ params: usual, own: { finalBlank: false } }, options);
    super(read.own.finalBlank ? 'monotonic-final' : 'monotonic', read);
  }
}

/** Blank: default 0. */
export type HATLossOptions = UsualOptions;

/** HAT, the hybrid autoregressive transducer (Variani et al., arXiv 2003.07705): a sigmoid for the blank, a softmax for the labels. Spec `hat`. */
export class HATLoss extends NamedLoss<ActsTensors> {
  /** @throws InputError for an option that does not exist or cannot have its value */
  constructor(options?: HATLossOptions) {
    super('hat', readForm({ params: usual }, options));
  }
}

interface SigmaOption {
  /** Under-normalisation: the weight of every token is multiplied by e^-sigma; 0.05 in the paper. Default 0. */
  readonly sigma?: number;
}

/** Blank: default -1, the last class. */
export interface MultiblankRNNTLossOptions extends UsualOptions, SigmaOption {
  /** Frames that each big blank consumes, different integers of at least 2; that of bigBlankDurations[i] is class blank - 1 - i. Default [2, 4]. */
  readonly bigBlankDurations?: readonly number[];
}

/** Multi-blank RNN-T (Xu et al., arXiv 2211.03541): big blanks consume several frames at once. Spec `multiblank`. */
export class MultiblankRNNTLoss extends NamedLoss<ActsTensors> {
  /** @throws InputError for an option that does not exist or cannot have its value */
  constructor(options?: MultiblankRNNTLossOptions) {
    const form: Form = { params: { ...usual, blank: -1, sigma: 0 }, statics: { bigBlankDurations: [2, 4] } };
    super('multiblank', readForm(form, options));
  }
}

/** Blank: default 0. */
export interface CTCLossOptions extends CommonOptions, BlankOption {}

/** acts [B, T, V] float32, logits; labels [B, U], each in 0..V - 1 and not the blank; lengths [B]. */
export type CTCTensors = ActsTensors;

/** CTC (Graves et al., ICML 2006), of logits: acts are [B, T, V]. Spec `ctc`. */
export class CTCLoss extends NamedLoss<CTCTensors> {
  /** @throws InputError for an option that does not exist or cannot have its value */
  constructor(options?: CTCLossOptions) {
    super('ctc', readForm({ params: { blank: 0 } }, options));
  }
}

/** Blank: default 0. */
export type PrunedRNNTLossOptions = UsualOptions;

/** acts [B, T, S, V] float32, of the positions of each frame's window; ranges [B, T], where each begins (see `pruneRanges`). */
export type PrunedTensors = [
  acts: TensorLike,
  labels: TensorLike,
  ranges: TensorLike,
  actLens: TensorLike,
  labelLens: TensorLike,
];

/** Pruned RNN-T (Kuang et al., arXiv 2206.13236): logits for a window of label positions at each frame. Spec `pruned`. */
export class PrunedRNNTLoss extends NamedLoss<PrunedTensors> {
  /** @throws InputError for an option that does not exist or cannot have its value */
  constructor(options?: PrunedRNNTLossOptions) {
    super('pruned', readForm({ params: usual }, options));
  }
}

/** Blank: default 0. */
export interface AdditiveRNNTLossOptions extends CommonOptions, BlankOption, FastEmitOptions {
  /** Share of the label context alone in the log-weights, from 0 to 1. Default 0. */
  readonly lmScale?: number;
  /** Share of the frame alone in the log-weights, from 0 to 1. Default 0. */
  readonly amScale?: number;
}

/** am [B, T, V] and lm [B, U + 1, V] float32, whose sum the logits are; labels [B, U]; lengths [B]. */
export type AdditiveTensors = [
  am: TensorLike,
  lm: TensorLike,
  labels: TensorLike,
  actLens: TensorLike,
  labelLens: TensorLike,
];

/**
 * RNN-T whose logits are a sum and never stored (k2's simple and smoothed loss; Kuang et al., arXiv 2206.13236). Spec `additive`, or
 * `additive-smoothed` where a scale is not 0. The gradients are in `gradients.am` and `gradients.lm`.
 */
export class AdditiveRNNTLoss extends NamedLoss<AdditiveTensors> {
  /** @throws InputError for an option that does not exist or cannot have its value */
  constructor(options?: AdditiveRNNTLossOptions) {
    const read = readForm({ params: { blank: 0, fastemitLambda: 0, lmScale: 0, amScale: 0 } }, options);
    const { lmScale, amScale, ...plain } = read.params;
    if (lmScale === 0 && amScale === 0) super('additive', { ...read, params: plain });
    else super('additive-smoothed', read);
  }
}
