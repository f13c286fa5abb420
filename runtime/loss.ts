/**
 * Losses as callers use them: checks one call, runs it on a device, and turns costs [B] into a result.
 * What is the same on every device is here: reductions, and what a sample without a path costs.
 */
import { bestPathResults } from '../compiler/graph/graph.js';
import { type AlignResult, alignmentsOf } from './align.js';
import { type CacheStats, shapeClassOf } from './cache.js';
import type { Batch, ShapeClass } from './device.js';
import { describe, didYouMean, InputError, listOf, TrellisError, throwIfAborted } from './errors.js';
import { dtypeNames, type HalfArray, type HalfDType, isReal, placeGradients } from './half.js';
import { noForwardSync, type OpenSpec, type SpecKernels } from './kernels.js';
import { alignNames, type CallOptions, callNames, checkCall, type Settings } from './options.js';
import { chooseOutputs, perNodeOutputs, perNodeShape } from './outputs.js';
import { checkParamNames, type ParamValues, resolveParams } from './params.js';
import { reduceCosts, reductionFactors } from './reduction.js';
import { type LatticeSignature, type SpecSignature, targetsOf } from './signature.js';
import type { GpuTensor, RealArray, Tensor, TensorLike } from './tensor.js';
import { checkLengths, checkShapes, convertInputs, type Shapes } from './validate.js';

/** All tensors of a call by name. A length left out means that every utterance fills its padded size. */
export type TensorBundle = Readonly<Record<string, TensorLike>>;

/** What a call may be given: tensors in the spec's order (inputs, then lengths) or a bundle of them; then call options. */
export type LossArgument = TensorLike | TensorBundle | CallOptions | undefined;

/** Where gradients are: in arrays, or in GPU memory. */
export type GradientData = RealArray | HalfArray | GPUBuffer;

/** A gradient in arrays or in GPU memory. */
export type Gradient<Data extends GradientData> = Data extends GPUBuffer
  ? GpuTensor
  : Data extends HalfArray
    ? Tensor<Data> & { readonly dtype: HalfDType }
    : Tensor<RealArray>;

/**
 * `LossResult` has gradients in arrays of reals; `LossResult<GPUBuffer>` is that of a call whose input or `grads` is a GPUBuffer,
 * `LossResult<Uint16Array>` that of one whose input holds the bits of float16 or bfloat16.
 */
export interface LossResult<Data extends GradientData = RealArray> {
  /** Shape [], or the costs themselves for reduction 'none'. */
  readonly loss: Tensor<Float64Array>;
  /** [B], before reduction. +Infinity for a sample without a path (0 with infeasible: 'zero'). */
  readonly costs: Tensor<Float64Array>;
  /** The gradient of `loss` with respect to the one input that has a gradient; null for score only, or where several inputs have one. */
  readonly grads: Gradient<Data> | null;
  /** The gradients by input name, in the inputs' padded shapes; empty for score only. */
  readonly gradients: Readonly<Record<string, Gradient<Data>>>;
  /**
   * With `posteriors: true`, else null. Over the nodes of the spec's lattice, [B, ...nodes]: by arc name the share of the utterance's
   * probability that takes the arc from each node, and `occupancy`, the share that passes the node. Zero in the padding and where there is no path.
   */
  readonly posteriors: Readonly<Record<string, Tensor<RealArray>>> | null;
  readonly device: string;
  /** Time the device ran, without compiling and checking. */
  readonly milliseconds: number;
  /** What the kernel that ran is compiled for; see `cache.entries`. */
  readonly shapeClass: string;
}

/** One run of a kernel, and what to look at when it is done. */
interface Step {
  readonly shapeClass: ShapeClass;
  readonly batch: Batch;
}

/** A call that was found in order: what every run of it shares. */
interface CheckedCall {
  readonly batch: Omit<Batch, 'out'>;
  readonly shapes: Shapes;
  readonly options: CallOptions;
}

interface Plan {
  readonly steps: readonly Step[];
  /** GPUBuffers to be made before the first step: bytes, by input name; then they are put into `gpuGradients`. */
  readonly wanted: Readonly<Record<string, number>>;
  readonly gpuGradients: Record<string, GPUBuffer>;
  readonly signal: AbortSignal | undefined;
  /** After each step; throws for what the caller wanted as an error. */
  check(step: Step): void;
  result<Data extends GradientData>(milliseconds: number): LossResult<Data>;
}

export class Loss {
  readonly #kernels: SpecKernels;
  readonly #settings: Settings;
  readonly #params: ParamValues;

  /** Made by `loadLoss`, by `RNNTLoss`, and in browsers by `createLoss`. */
  protected constructor(kernels: SpecKernels, settings: Settings, params: ParamValues) {
    this.#kernels = kernels;
    this.#settings = settings;
    this.#params = params;
  }

  /** @internal A loss over kernels, wherever they come from. */
  static over(kernels: SpecKernels, settings: Settings, params: ParamValues): Loss {
    return new Loss(kernels, settings, params);
  }

  /**
   * Loads the device and reads the spec, which the first `forward` would do otherwise. After it `signature` is known.
   * @throws SpecError, TrellisError
   */
  async ready(): Promise<this> {
    this.#checkSpec(await this.#kernels.open());
    return this;
  }

  /** Hits, misses, build times and shape classes so far: a snapshot. */
  get cache(): CacheStats {
    return this.#kernels.cache.stats;
  }

  /** Names, shapes and parameters of the spec. @throws TrellisError before the loss is ready. */
  get signature(): SpecSignature {
    const { opened } = this.#kernels;
    if (opened === undefined) {
      throw new TrellisError('not-supported', 'the spec has not been read yet: await loss.ready() first');
    }
    return opened.spec.signature;
  }

  /**
   * The GPUDevice this loss runs on. Buffers made by it can be inputs and `grads`, without a round trip through the host. After a
   * loss of the device it is another one.
   * @throws TrellisError 'not-supported' where the loss runs on no GPU
   */
  async gpuDevice(): Promise<GPUDevice> {
    const { device } = await this.#kernels.open();
    if (device.gpu !== undefined) return device.gpu.device();
    throw new TrellisError('not-supported', `the ${device.name} device has no GPUDevice; take device: 'webgpu'`);
  }

  /**
   * Costs, loss and gradients of a batch; never blocks the event loop. Tensors must not be changed before it settles.
   * @param args the spec's inputs in order, then its lengths, or one object with all of them by name; then perhaps `CallOptions`
   * @returns the loss with its gradients; two runs on one device agree in every bit
   * @throws InputError for arguments that cannot be used, before any kernel runs; signal.reason when aborted; SpecError, TrellisError
   */
  async forward<Data extends GradientData = RealArray>(...args: LossArgument[]): Promise<LossResult<Data>> {
    const open = await this.#kernels.open();
    this.#checkSpec(open);
    const plan = this.#plan(open, args);
    let milliseconds = 0;
    const made: GPUBuffer[] = [];
    try {
      for (const [name, bytes] of Object.entries(plan.wanted)) {
        const buffer = await open.device.gpu!.allocate(bytes, `the gradient of ${name}`);
        made.push(buffer);
        plan.gpuGradients[name] = buffer;
      }
      for (const step of plan.steps) {
        const runner = await this.#kernels.runner(open, step.shapeClass);
        throwIfAborted(plan.signal);
        const start = performance.now();
        await runner.run(step.batch);
        milliseconds += performance.now() - start;
        throwIfAborted(plan.signal);
        plan.check(step);
      }
    } catch (error) {
      for (const buffer of made) buffer.destroy();
      throw error;
    }
    return plan.result<Data>(milliseconds);
  }

  /**
   * As `forward`, but returns when the result is there.
   * @throws as `forward`, and TrellisError 'not-supported' on devices that cannot wait
   */
  forwardSync(...args: LossArgument[]): LossResult {
    const open = this.#kernels.openSync();
    this.#checkSpec(open);
    const plan = this.#plan(open, args);
    let milliseconds = 0;
    for (const step of plan.steps) {
      const runner = this.#kernels.runnerSync(open, step.shapeClass);
      if (runner.runSync === undefined) {
        throw noForwardSync(open.device.name);
      }
      const start = performance.now();
      runner.runSync(step.batch);
      milliseconds += performance.now() - start;
      plan.check(step);
    }
    return plan.result(milliseconds);
  }

  /**
   * The best path of each utterance through the spec's lattice: the one of the largest weight, where the loss sums over all.
   * The same equations run with max in the place of the sum. Parameters that scale the loss or the gradient play no part; `reduction`,
   * too. `infeasible: 'error'` holds here as well.
   * @param args as for `forward`; of call options `signal` and `params`
   * @returns for each utterance the score (log-weight) of its path, its arcs, and the frames of each label
   * @throws as `forward`, and InputError for a spec in equations, which states no arcs
   */
  async align(...args: LossArgument[]): Promise<AlignResult> {
    const open = await this.#kernels.open();
    this.#checkSpec(open);
    const { device, spec } = open;
    const { signature } = spec;
    requireLattice(signature, 'align', 'a best path');
    const { batch, options } = this.#check(open, args, alignNames);
    const negated = new Float64Array(batch.B);
    const perNode = perNodeOutputs(signature.lattice.nodes, bestPathResults, batch, device.reals);
    const shapeClass = shapeClassOf(signature, batch.sizes, {
      gradients: false,
      perNode: 'best-path',
      storage: batch.storage,
    });
    const runner = await this.#kernels.runner(open, shapeClass);
    throwIfAborted(options.signal);
    const start = performance.now();
    await runner.run({ ...batch, out: { loss: negated, perNode } });
    const milliseconds = performance.now() - start;
    throwIfAborted(options.signal);
    if (this.#settings.infeasible === 'error') refuseInfeasible(signature, negated, batch.lengths);
    const alignments = alignmentsOf(signature, batch, negated, perNode);
    return {
      alignments,
      scores: { data: Float64Array.from(alignments, ({ score }) => score), shape: [batch.B] },
      device: device.name,
      milliseconds,
      shapeClass: shapeClass.key,
    };
  }

  /** A look at the checked values of a call, for losses that ask more of them than their spec says. */
  protected checkValues(_batch: Omit<Batch, 'out'>): void {}

  #checkSpec({ spec: { signature } }: OpenSpec): void {
    checkParamNames(signature, this.#params);
    if (this.#settings.reduction === 'mean_volume' && targetsOf(signature) === undefined) {
      throw new InputError({
        code: 'option',
        argument: 'reduction',
        problem: `is "mean_volume", but ${signature.name} has no input of ints whose lengths could be the volume`,
        value: 'mean_volume',
        allowed: 'none, sum, mean or mean_batch',
      });
    }
  }

  /** Arguments that are in order, converted. Nothing of the caller's is written to. */
  #check(
    { device, spec: { signature } }: OpenSpec,
    args: readonly LossArgument[],
    names: readonly string[],
  ): CheckedCall {
    const { reduction, threads } = this.#settings;
    const { tensors, options } = splitArguments(signature, args);
    const call = checkCall(options, names);
    throwIfAborted(call.signal);
    const shapes = checkShapes(signature, tensors);
    const { B, sizes } = shapes;
    const lengths = checkLengths(signature, tensors, shapes);
    const params = resolveParams(signature, { ...this.#params, ...call.params }, sizes);
    const inputs = convertInputs(signature, shapes, lengths, params, device);
    const halves = halvesOf(shapes);
    const storage = {
      inputs: Object.fromEntries(Object.entries(halves).filter(([, half]) => device.halves?.includes(half))),
    };
    const gpuInputs = Object.fromEntries(
      Object.entries(shapes.raw).flatMap(([name, { buffer }]) => (buffer === undefined ? [] : [[name, buffer]])),
    );
    const batch = {
      B,
      sizes,
      shapes: Object.fromEntries(Object.entries(shapes.raw).map(([name, { shape }]) => [name, shape])),
      inputs,
      gpuInputs,
      storage,
      lengths,
      params,
      gradScale: reductionFactors(reduction, B, targetLengths(signature, lengths)),
      threads,
      signal: call.signal,
    };
    this.checkValues(batch);
    return { batch, shapes, options: call };
  }

  /** Everything up to the first kernel; nothing of the caller's has been written to when it throws. */
  #plan(open: OpenSpec, args: readonly LossArgument[]): Plan {
    const { reduction, infeasible } = this.#settings;
    const { device, spec } = open;
    const { signature } = spec;
    const { batch, shapes, options: call } = this.#check(open, args, callNames);
    const { B, sizes, lengths } = batch;
    if (call.posteriors) requireLattice(signature, 'posteriors', 'posteriors');
    const { gradients, gpuGradients, wanted, borrowed } = chooseOutputs(signature, shapes, call.grads, device);
    const halves = halvesOf(shapes);
    const placed = placeGradients(gradients ?? {}, halves, device);
    const onGpu = new Set([...Object.keys(gpuGradients), ...Object.keys(wanted)]);
    const { inputs: native = {} } = batch.storage;
    const storage = {
      inputs: native,
      gradients: {
        ...Object.fromEntries(Object.entries(native).filter(([name]) => onGpu.has(name))),
        ...placed.storage,
      },
    };
    const inGpuMemory: Record<string, GPUBuffer> = { ...gpuGradients };
    const posteriors = call.posteriors
      ? perNodeOutputs(signature.lattice!.nodes, signature.lattice!.posteriors, batch, device.reals)
      : undefined;
    const targets = targetLengths(signature, lengths);
    const costs = new Float64Array(B);
    const scored: Step = {
      shapeClass: shapeClassOf(signature, sizes, { gradients: false, storage: batch.storage }),
      batch: { ...batch, out: { loss: costs } },
    };
    const results = {
      gradients: gradients !== undefined,
      ...(posteriors ? { perNode: 'posteriors' as const } : {}),
      storage: gradients ? storage : batch.storage,
    };
    const full: Step | undefined =
      gradients || posteriors
        ? {
            shapeClass: shapeClassOf(signature, sizes, results),
            batch: {
              ...batch,
              storage: results.storage,
              out: {
                loss: costs,
                ...(gradients ? { gradients: placed.gradients, gpuGradients: inGpuMemory } : {}),
                ...(posteriors ? { perNode: posteriors } : {}),
              },
            },
          }
        : undefined;
    // Who wants an error for an impossible sample gets it before their array is written to, at the price of scoring first.
    const steps = full === undefined ? [scored] : infeasible === 'error' && borrowed ? [scored, full] : [full];
    return {
      steps,
      wanted,
      gpuGradients: inGpuMemory,
      signal: call.signal,
      check: () => {
        if (infeasible === 'error') refuseInfeasible(signature, costs, lengths);
      },
      result: <Data extends GradientData>(milliseconds: number) => {
        placed.finish();
        if (infeasible === 'zero') for (let b = 0; b < B; b++) if (costs[b] === Number.POSITIVE_INFINITY) costs[b] = 0;
        const costTensor = { data: costs, shape: [B] };
        const tensorsOut = Object.entries({ ...gradients, ...inGpuMemory }).map(([name, data]) => {
          const type = halves[name];
          const isHalf = type !== undefined && !(ArrayBuffer.isView(data) && isReal(data));
          const dtype = isHalf ? { dtype: dtypeNames[type] } : {};
          const tensor = { data, shape: [...(batch.shapes[name] ?? [])], ...dtype };
          return [name, tensor as unknown as Gradient<Data>] as const;
        });
        const [only, ...others] = tensorsOut;
        return {
          loss:
            reduction === 'none'
              ? costTensor
              : { data: Float64Array.of(reduceCosts(reduction, costs, targets)), shape: [] },
          costs: costTensor,
          grads: only !== undefined && others.length === 0 ? only[1] : null,
          gradients: Object.fromEntries(tensorsOut),
          posteriors: posteriors
            ? Object.fromEntries(
                Object.entries(posteriors).map(([name, data]) => [
                  name,
                  { data, shape: perNodeShape(signature.lattice!.nodes, batch) },
                ]),
              )
            : null,
          device: device.name,
          milliseconds,
          shapeClass: (steps[steps.length - 1] as Step).shapeClass.key,
        };
      },
    };
  }
}

/** Inputs that the caller gave in half precision, by name. */
const halvesOf = ({ raw }: Shapes) =>
  Object.fromEntries(
    Object.entries(raw).flatMap(([name, { half }]) => (half === undefined ? [] : [[name, half] as const])),
  );

/** How many targets each utterance has, if the spec has any. */
function targetLengths(signature: SpecSignature, lengths: Batch['lengths']): Int32Array | undefined {
  const targets = targetsOf(signature);
  return targets && lengths[targets.argument];
}

/** @throws InputError for a spec in equations */
function requireLattice(
  signature: SpecSignature,
  argument: string,
  what: string,
): asserts signature is SpecSignature & { readonly lattice: LatticeSignature } {
  if (signature.lattice) return;
  throw new InputError({
    code: 'option',
    argument,
    problem: `asks for ${what}, but ${signature.name} states no arcs that could have ${what.startsWith('a ') ? 'one' : 'them'}`,
    value: true,
    allowed: 'specs that return lattice({ arcs: [...] })',
  });
}

function refuseInfeasible(signature: SpecSignature, costs: Float64Array, lengths: Batch['lengths']): void {
  const hopeless = [...costs.keys()].filter((b) => costs[b] === Number.POSITIVE_INFINITY);
  const [b, ...others] = hopeless;
  if (b === undefined) return;
  const own = signature.lengths.map(({ argument }) => `${argument}[${b}] = ${lengths[argument]?.[b]}`).join(', ');
  const more =
    others.length === 0 ? '' : ` (also sample${others.length > 1 ? 's' : ''} ${listOf(others.map(String), 'and')})`;
  throw new InputError({
    code: 'infeasible',
    argument: 'sample',
    index: [b],
    problem: `has no possible path: ${own}${more}`,
    value: Number.POSITIVE_INFINITY,
    allowed: "samples with at least one path of non-zero probability; infeasible: 'inf' or 'zero' accepts them",
  });
}

/** True for `{ acts, labels, ... }`, as against a tensor. */
export function isBundle(value: unknown): value is TensorBundle {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || ArrayBuffer.isView(value)) return false;
  return !('data' in value || 'shape' in value);
}

function splitArguments(
  signature: SpecSignature,
  args: readonly LossArgument[],
): { tensors: Readonly<Record<string, unknown>>; options: unknown } {
  const names = [...signature.inputs.map(({ name }) => name), ...signature.lengths.map(({ argument }) => argument)];
  const [first, ...rest] = args;
  const bundled = isBundle(first);
  const most = bundled ? 2 : names.length + 1;
  if (args.length > most) {
    const expected = bundled ? 'an object of tensors' : listOf(names, 'and');
    throw new InputError({
      code: 'type',
      argument: 'arguments',
      problem: `are ${args.length}; the last is ${describe(args[args.length - 1])}`,
      value: args.length,
      allowed: `${expected}, then call options`,
    });
  }
  if (!bundled) {
    // A missing argument is undefined here, and refused by name; it does not mean "full length".
    return { tensors: Object.fromEntries(names.map((name, n) => [name, args[n]])), options: args[names.length] };
  }
  for (const name of Object.keys(first)) {
    if (names.includes(name)) continue;
    throw new InputError({
      code: 'option',
      argument: name,
      problem: `is not an input of ${signature.name}${didYouMean(name, names)}`,
      value: (first as TensorBundle)[name],
      allowed: listOf(names, 'and'),
    });
  }
  return { tensors: first, options: rest[0] };
}
