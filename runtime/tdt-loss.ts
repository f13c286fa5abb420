/** The TDT loss, with what it is mixed with in training: RNN-T on its tokens (NeMo's omega). */
import { randomFrom } from './check/draw.js';
import { InputError } from './errors.js';
import { type GradientData, isBundle, Loss, type LossArgument, type LossResult } from './loss.js';
import { type ActsTensors, type NamedArguments, NamedLoss } from './named-losses.js';
import { type Form, readForm } from './named-options.js';
import type { CallOptions, CommonOptions, Settings } from './options.js';
import { kernelsOfFile } from './spec-file.js';
import { findSpec } from './specs.js';
import { type RealArray, readTensor } from './tensor.js';

export interface TDTLossOptions extends CommonOptions {
  /** Frames that a symbol may consume, different integers from 0, in the order of their logits. Default [0, 1, 2, 3, 4]. */
  readonly durations?: readonly number[];
  /** Index of the blank among the tokens; a negative one counts from their end. Default -1. */
  readonly blank?: number;
  /** Under-normalisation: the weight of every token is multiplied by e^-sigma; 0.05 in the paper. Default 0. */
  readonly sigma?: number;
  /**
   * Probability that a call computes RNN-T on the tokens instead, without sigma and with zero gradient for the durations' logits.
   * From 0 to 1; default 0. NeMo's default is 0 too, its models take 0.1.
   */
  readonly omega?: number;
  /**
   * 'batch' (default): omega is drawn once for each call, as in NeMo. 'expectation': every call computes both and weighs them,
   * omega L_rnnt + (1 - omega) L_tdt, so that nothing is left to chance, in twice the time.
   */
  readonly sampling?: 'batch' | 'expectation';
  /** Makes the draws of 'batch' the same in every run, by the order of the calls. An integer from 0 to 2^32 - 1. Default: none. */
  readonly seed?: number;
  /** FastEmit's lambda, at least 0: label arcs count (1 + lambda) times. Default 0. */
  readonly fastemitLambda?: number;
  /** Bound on each element of the gradient, before the reduction's factor. 0 or less: off. Default -1. */
  readonly clamp?: number;
}

const form: Form = {
  params: { blank: -1, sigma: 0, fastemitLambda: 0, clamp: -1 },
  statics: { durations: [0, 1, 2, 3, 4] },
  own: { omega: 0, sampling: 'batch', seed: undefined },
};

/**
 * TDT, the token-and-duration transducer (Xu et al., arXiv 2304.06795). acts are [B, T, U + 1, V]: the logits of the tokens, then one for each
 * duration. Spec `tdt`, and `tdt-tokens` for omega. `align` is always TDT's.
 */
export class TDTLoss extends NamedLoss<ActsTensors> {
  readonly #omega: number;
  readonly #expectation: boolean;
  readonly #settings: Settings;
  /** A number in [0, 1). */
  readonly #random: () => number;
  /** RNN-T on the tokens; absent where omega never asks for it. */
  readonly #tokens: Loss | undefined;

  /** @throws InputError for an option that does not exist or cannot have its value */
  constructor(options?: TDTLossOptions) {
    const read = readForm(form, options);
    super('tdt', read);
    const { settings, params, statics, own } = read;
    this.#settings = settings;
    this.#omega = own.omega as number;
    this.#expectation = own.sampling === 'expectation';
    this.#random = own.seed === undefined ? Math.random : randomFrom(own.seed as number);
    if (this.#omega === 0) return;
    const kernels = kernelsOfFile(findSpec('tdt-tokens'), settings.device, settings, statics);
    this.#tokens = Loss.over(kernels, settings, withoutSigma(params));
  }

  override async ready(): Promise<this> {
    await this.#tokens?.ready();
    return super.ready();
  }

  /**
   * As every loss's; with omega above 0 of the loss that is drawn, or of both. With sampling 'expectation' `grads` is true or false, there are no
   * `posteriors`, and gradients are those of float32 on the host.
   * @throws InputError before any kernel runs; signal.reason when aborted; TrellisError when the device is not available
   */
  override async forward<Data extends GradientData = RealArray>(
    ...args: NamedArguments<ActsTensors>
  ): Promise<LossResult<Data>> {
    const choice = this.#choose(args);
    if (choice === 'tdt') return super.forward<Data>(...args);
    const tokens = await choice.tokens.forward<Data>(...choice.args);
    if (!choice.both) return tokens;
    return this.#mixed(tokens, await super.forward<Data>(...args));
  }

  override forwardSync(...args: NamedArguments<ActsTensors>): LossResult {
    const choice = this.#choose(args);
    if (choice === 'tdt') return super.forwardSync(...args);
    const tokens = choice.tokens.forwardSync(...choice.args);
    return choice.both ? this.#mixed(tokens, super.forwardSync(...args)) : tokens;
  }

  /** What this call computes: TDT, RNN-T on the tokens, or both. */
  #choose(
    args: NamedArguments<ActsTensors>,
  ): 'tdt' | { readonly tokens: Loss; readonly args: LossArgument[]; readonly both: boolean } {
    const tokens = this.#tokens;
    if (tokens === undefined) return 'tdt';
    const both = this.#expectation && this.#omega < 1;
    if (!both && !(this.#random() < this.#omega)) return 'tdt';
    if (both) checkMixable(args);
    return { tokens, args: (args as LossArgument[]).map(withoutSigmaOf), both };
  }

  #mixed<Data extends GradientData>(tokens: LossResult<Data>, tdt: LossResult<Data>): LossResult<Data> {
    const omega = this.#omega;
    const mix = <Values extends RealArray>(a: Values, c: Values): Values =>
      c.map((value, i) => omega * (a[i] as number) + (1 - omega) * value) as Values;
    const costs = { ...tdt.costs, data: mix(tokens.costs.data, tdt.costs.data) };
    const gradients = Object.fromEntries(
      Object.entries(tdt.gradients).map(([name, gradient]) => {
        const data = mix(tokens.gradients[name]?.data as RealArray, gradient.data as RealArray);
        // Without a path in one of them the cost is +Infinity, and that has no gradient.
        const stride = data.length / costs.data.length;
        for (const [b, cost] of costs.data.entries())
          if (cost === Number.POSITIVE_INFINITY) data.fill(0, b * stride, (b + 1) * stride);
        return [name, { ...gradient, data }];
      }),
    ) as LossResult<Data>['gradients'];
    return {
      ...tdt,
      loss: this.#settings.reduction === 'none' ? costs : { ...tdt.loss, data: mix(tokens.loss.data, tdt.loss.data) },
      costs,
      grads: tdt.grads === null ? null : (gradients.acts ?? null),
      gradients,
      milliseconds: tokens.milliseconds + tdt.milliseconds,
    };
  }
}

/** Call options among the arguments: the last one, if it is no tensor. */
const isCall = (value: unknown): value is CallOptions =>
  typeof value === 'object' &&
  value !== null &&
  ['grads', 'posteriors', 'signal', 'params'].some((name) => Object.hasOwn(value, name));

function checkMixable(args: readonly unknown[]): void {
  const { grads = true, posteriors = false } = args.find(isCall) ?? {};
  const refuse = (argument: string, value: unknown, allowed: string): InputError =>
    new InputError({
      code: 'option',
      argument,
      problem: "cannot be had of two losses with sampling: 'expectation'",
      value,
      allowed,
    });
  if (typeof grads !== 'boolean') throw refuse('grads', grads, 'true or false');
  if (posteriors === true) throw refuse('posteriors', posteriors, "false, or sampling: 'batch'");
  const [first] = args;
  const acts = isBundle(first) ? first.acts : first;
  if (!grads || acts === undefined) return;
  const { buffer, half } = readTensor('acts', acts);
  if (buffer === undefined && half === undefined) return;
  const allowed = "float32 on the host, grads: false, or sampling: 'batch'";
  const problem = `is ${buffer ? 'in GPU memory' : 'of half precision'}, and so are two gradients that would have to be added`;
  throw new InputError({ code: 'dtype', argument: 'acts', problem, value: buffer ?? half, allowed });
}

const withoutSigma = <Values extends Readonly<Record<string, number>>>({ sigma: _, ...rest }: Values) => rest;

/** Call options for the tokens alone, which have no sigma. */
const withoutSigmaOf = (arg: LossArgument): LossArgument =>
  isCall(arg) && arg.params ? { ...arg, params: withoutSigma(arg.params) } : arg;
