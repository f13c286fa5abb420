/** The RNN-T loss under the names and defaults that ESPnet's users know. */
import type { Batch } from './device.js';
import { InputError } from './errors.js';
import { elementReader } from './half.js';
import type { SpecKernels } from './kernels.js';
import { type GradientData, Loss, type LossArgument, type LossResult, type TensorBundle } from './loss.js';
import { asParam, checkOption, type OptionName } from './named-options.js';
import {
  type CallOptions,
  type CommonOptions,
  callNames,
  checkOptionNames,
  checkSettings,
  commonNames,
} from './options.js';
import { kernelsOfFile } from './spec-file.js';
import { findSpec } from './specs.js';
import type { RealArray, TensorLike } from './tensor.js';

export interface RNNTLossOptions extends CommonOptions {
  /** Index of the blank; a negative one counts from the end, so -1 is the last. Default 0. */
  readonly blank?: number;
  /** FastEmit's lambda, at least 0: label arcs count (1 + lambda) times. Default 0. */
  readonly fastemitLambda?: number;
  /** Bound on each element of the gradient, before the reduction's factor. 0 or less: off. Default -1. */
  readonly clamp?: number;
  /** True: acts are log-probabilities, and the gradient is with respect to those. Default false: acts are logits. */
  readonly normalized?: boolean;
}

const rnntNames = ['blank', 'fastemitLambda', 'clamp', 'normalized'] as const;

interface Checked {
  readonly normalized: boolean;
  readonly params: { readonly blank: number; readonly fastemitLambda: number; readonly clamp: number };
}

function checkRnntOptions(options: Readonly<Record<string, unknown>>, defaultClamp: number): Checked {
  const { blank = 0, fastemitLambda = 0, clamp = defaultClamp, normalized = false } = options;
  for (const [name, value] of Object.entries({ blank, fastemitLambda, clamp, normalized }))
    checkOption(name as OptionName, value);
  return {
    normalized: normalized as boolean,
    params: { blank: blank as number, fastemitLambda: fastemitLambda as number, clamp: asParam('clamp', clamp) },
  };
}

const specOf = (normalized: boolean): string => findSpec(normalized ? 'rnnt-normalized' : 'rnnt');

export class RNNTLoss extends Loss {
  readonly #normalized: boolean;

  /** @throws InputError for an option that does not exist or cannot have its value */
  constructor(options?: RNNTLossOptions);
  /** @internal `rnntLoss` shares kernels between calls. */
  constructor(options: RNNTLossOptions | undefined, kernels: SpecKernels);
  constructor(options?: RNNTLossOptions, kernels?: SpecKernels) {
    const checked = checkOptionNames('options', options, [...rnntNames, ...commonNames]);
    const { normalized, params } = checkRnntOptions(checked, -1);
    const settings = checkSettings(checked);
    super(kernels ?? kernelsOfFile(specOf(normalized), settings.device, settings), settings, params);
    this.#normalized = normalized;
  }

  /**
   * Costs, loss and gradient of a batch; never blocks the event loop. Tensors must not be changed before it settles.
   * @param acts logits [B, T, U + 1, V] (log-probabilities if `normalized`), float32, float16 or bfloat16; float64 is converted
   * @param labels [B, U], each in 0..V - 1 and not the blank; what lies in the padding does not matter
   * @param actLens [B], frames of each sample, 0..T
   * @param labelLens [B], labels of each sample, 0..U
   * @throws InputError before any kernel runs; signal.reason when aborted; TrellisError when the device is not available
   */
  override forward<Data extends GradientData = RealArray>(
    acts: TensorLike,
    labels: TensorLike,
    actLens: TensorLike,
    labelLens: TensorLike,
    call?: CallOptions,
  ): Promise<LossResult<Data>>;
  /** The same with all tensors in one object. */
  override forward<Data extends GradientData = RealArray>(
    tensors: TensorBundle,
    call?: CallOptions,
  ): Promise<LossResult<Data>>;
  override forward<Data extends GradientData = RealArray>(...args: LossArgument[]): Promise<LossResult<Data>> {
    return super.forward<Data>(...args);
  }

  /** As `forward`, but returns when the result is there. @throws also TrellisError 'not-supported' on devices that cannot wait */
  override forwardSync(
    acts: TensorLike,
    labels: TensorLike,
    actLens: TensorLike,
    labelLens: TensorLike,
    call?: CallOptions,
  ): LossResult;
  override forwardSync(tensors: TensorBundle, call?: CallOptions): LossResult;
  override forwardSync(...args: LossArgument[]): LossResult {
    return super.forwardSync(...args);
  }

  /**
   * Logits passed for log-probabilities are the commonest silent mistake, so the first cell of each sample is looked at:
   * its probabilities must not sum to more than 1. Less is allowed, as models that mask or discount symbols have it.
   */
  protected override checkValues({ B, inputs, shapes, lengths, storage }: Batch): void {
    if (!this.#normalized) return;
    const { acts } = inputs;
    if (acts === undefined) return; // in GPU memory
    const at = elementReader(acts, storage.inputs?.acts);
    const [, T = 0, rows = 0, V = 0] = shapes.acts ?? [];
    for (let b = 0; b < B; b++) {
      if (lengths.actLens?.[b] === 0) continue;
      const start = b * T * rows * V;
      let total = 0;
      for (let v = 0; v < V; v++) total += Math.exp(at(start + v));
      // NaN passes: it is the sample's own affair.
      if (!(total > 1.01)) continue;
      throw new InputError({
        code: 'range',
        argument: 'acts',
        index: [b, 0, 0],
        problem: `sums to ${Number.isFinite(total) ? total.toPrecision(4) : total} as probabilities, so it does not hold log-probabilities`,
        value: total,
        allowed: 'rows whose exponentials sum to at most 1; for logits leave out normalized: true',
      });
    }
  }
}

/** Kernels that calls of the function share. */
const sharedKernels = new Map<string, SpecKernels>();

/**
 * The RNN-T loss of a batch as a function. Options and call options come in one object; kernels are kept between calls.
 * Unlike the class, whose clamp is off at 0 and below, the function's clamp has default 0 and refuses a negative one.
 * @throws as `RNNTLoss.forward`
 */
export async function rnntLoss(
  acts: TensorLike,
  labels: TensorLike,
  actLens: TensorLike,
  labelLens: TensorLike,
  options?: RNNTLossOptions & Pick<CallOptions, 'grads' | 'signal'>,
): Promise<LossResult> {
  const perCall = callNames.filter((name) => name !== 'params');
  const checked = checkOptionNames('options', options, [...rnntNames, ...commonNames, ...perCall]);
  const { grads, signal, ...rest } = checked;
  const { normalized, params } = checkRnntOptions(rest, 0);
  if (typeof rest.clamp === 'number' && rest.clamp < 0) {
    const allowed = '0 (off) or a positive number; only the class RNNTLoss takes a negative one as off';
    throw new InputError({
      code: 'range',
      argument: 'clamp',
      problem: `is ${rest.clamp}`,
      value: params.clamp,
      allowed,
    });
  }
  const settings = checkSettings(rest);
  const key = JSON.stringify([normalized, settings.device, settings.cacheDir ?? null]);
  const kernels = sharedKernels.get(key) ?? kernelsOfFile(specOf(normalized), settings.device, settings);
  sharedKernels.set(key, kernels);
  const call = {
    ...(grads === undefined ? {} : { grads }),
    ...(signal === undefined ? {} : { signal }),
  } as CallOptions;
  return new RNNTLoss({ ...rest, clamp: params.clamp } as RNNTLossOptions, kernels).forward(
    acts,
    labels,
    actLens,
    labelLens,
    call,
  );
}
