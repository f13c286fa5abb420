/** Random batches for the public API, and what float64 says of them. */
import type { LossResult } from 'trellis-jit';
import { expect } from 'vitest';
import { type Answer, dynamicProgram, type Problem, type Topology } from '../oracle.js';
import { randomFrom } from '../specs.js';
import type { Limits } from './devices.js';

/** The specs that the oracle knows. */
export const specs = {
  rnnt: { topology: 'rnnt', normalized: false },
  'rnnt-normalized': { topology: 'rnnt', normalized: true },
  monotonic: { topology: 'monotonic', normalized: false },
} as const satisfies Record<string, { topology: Topology; normalized: boolean }>;
export type SpecName = keyof typeof specs;
export const specNames = Object.keys(specs) as SpecName[];

const edges = [
  3.4028234663852886e38, -3.4028234663852886e38, 1e30, -1e30, 1e-45, -1e-45, 1e-38, -1e-38, -0, 0, 88, -104,
];

/** Where random logits come from. */
export const logitKinds = {
  mild: (random: () => number) => random() * 12 - 6,
  /** One in five decides everything. */
  harsh: (random: () => number) => (random() < 0.2 ? (random() * 2 - 1) * 800 : random() * 12 - 6),
  /** One in eight is impossible, which now and then leaves no path. */
  masked: (random: () => number) => (random() < 0.125 ? Number.NEGATIVE_INFINITY : random() * 12 - 6),
  /** Nearly everything is impossible: whole rows, most paths. */
  barred: (random: () => number) => (random() < 0.6 ? Number.NEGATIVE_INFINITY : random() * 200 - 100),
  /** The edges of float32: largest, smallest, denormal, minus zero. */
  extreme: (random: () => number) =>
    random() < 0.4 ? (edges[Math.floor(random() * edges.length)] as number) : random() * 12 - 6,
  /** The same for devices on which logits, and sums of them, beyond 5e29 are infinite. */
  narrow: (random: () => number) =>
    random() < 0.4
      ? Math.max(-1e27, Math.min(1e27, edges[Math.floor(random() * edges.length)] as number))
      : random() * 12 - 6,
} as const;
export type LogitKind = keyof typeof logitKinds;

/** The kinds that a device is to be right about. */
export const kindsFor = ({ narrow = false }: Limits): LogitKind[] =>
  (Object.keys(logitKinds) as LogitKind[]).filter((kind) => kind !== (narrow ? 'extreme' : 'narrow'));

/** What a random batch is made from. Sizes are those of the padded tensors; utterances are up to that long. */
export interface Recipe {
  readonly spec: SpecName;
  readonly seed: number;
  readonly B: number;
  readonly T: number;
  readonly U: number;
  readonly V: number;
  readonly kind: LogitKind;
  readonly lambda?: number;
  readonly clamp?: number;
  /** True: every utterance fills the padded sizes. */
  readonly full?: boolean;
}

export interface Tensors {
  readonly acts: { data: Float32Array; shape: readonly number[] };
  readonly labels: { data: Int32Array; shape: readonly number[] };
  readonly actLens: Int32Array;
  readonly labelLens: Int32Array;
}

export interface Batch {
  readonly problems: readonly Problem[];
  readonly tensors: Tensors;
  readonly params: { readonly blank: number; readonly fastemitLambda: number; readonly clamp: number };
}

/** Utterances of random lengths (U > T too, now and then no frame at all), blank anywhere, labels that repeat. */
export function randomProblems(recipe: Recipe): Problem[] {
  const { spec, seed, B, V, kind, lambda = 0, clamp = 0, full = false } = recipe;
  const random = randomFrom(seed);
  const whole = (low: number, high: number): number => low + Math.floor(random() * (high - low + 1));
  const { topology, normalized } = specs[spec];
  const blank = whole(0, V - 1);
  return Array.from({ length: B }, () => {
    const T = full ? recipe.T : random() < 0.04 ? 0 : whole(1, recipe.T);
    const U = full ? recipe.U : whole(0, recipe.U);
    const acts = Float32Array.from({ length: T * (U + 1) * V }, () => {
      const logit = logitKinds[kind](random);
      return normalized ? -Math.abs(logit) : logit;
    });
    const labels = Array.from({ length: U }, () => (blank + whole(1, V - 1)) % V);
    return { topology, normalized, T, U, V, acts, labels, blank, lambda, clamp };
  });
}

/** What padding may hold: none of it may have any effect. */
const rubbish = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 3.4e38, -3.4e38, 1e-45, 12.5];

/** Padded tensors with rubbish, chosen by `seed`, wherever there is no utterance. */
export function pack(
  problems: readonly Problem[],
  { T, U, V }: { T: number; U: number; V: number },
  seed = 0,
): Tensors {
  const random = randomFrom(seed);
  const B = problems.length;
  const acts = Float32Array.from(
    { length: B * T * (U + 1) * V },
    () => rubbish[Math.floor(random() * rubbish.length)] as number,
  );
  const blank = problems[0]?.blank ?? 0;
  const wrong = [-1, V, V + 7, blank, 2 ** 31 - 1, -(2 ** 31)];
  const labels = Int32Array.from({ length: B * U }, () => wrong[Math.floor(random() * wrong.length)] as number);
  problems.forEach((problem, b) => {
    labels.set(problem.labels as number[], b * U);
    const own = problem.acts as Float32Array;
    const rowLength = (problem.U + 1) * V;
    for (let t = 0; t < problem.T; t++) {
      acts.set(own.subarray(t * rowLength, (t + 1) * rowLength), (b * T + t) * (U + 1) * V);
    }
  });
  return {
    acts: { data: acts, shape: [B, T, U + 1, V] },
    labels: { data: labels, shape: [B, U] },
    actLens: Int32Array.from(problems, (problem) => problem.T),
    labelLens: Int32Array.from(problems, (problem) => problem.U),
  };
}

export function randomBatch(recipe: Recipe): Batch {
  const problems = randomProblems(recipe);
  const { lambda = 0, clamp = 0 } = recipe;
  const params = { blank: problems[0]?.blank ?? 0, fastemitLambda: lambda, clamp };
  return { problems, tensors: pack(problems, recipe, recipe.seed), params };
}

/** The gradient of sample b, dense [T, U + 1, V], out of a padded one; whatever lies outside must be exactly zero. */
export function ownGradient(result: LossResult, b: number, { T, U, V }: Problem): Float64Array {
  const { data, shape } = result.grads as NonNullable<LossResult['grads']>;
  const [, padT = 0, padRows = 0] = shape;
  const own = new Float64Array(T * (U + 1) * V);
  for (let t = 0; t < padT; t++) {
    for (let u = 0; u < padRows; u++) {
      const from = ((b * padT + t) * padRows + u) * V;
      const inside = t < T && u <= U;
      for (let v = 0; v < V; v++) {
        const value = data[from + v] as number;
        if (inside) own[(t * (U + 1) + u) * V + v] = value;
        else if (value !== 0) throw new Error(`the gradient at [${b}, ${t}, ${u}, ${v}], in the padding, is ${value}`);
      }
    }
  }
  return own;
}

/** How far a result is from float64: costs relative (absolute below 1), gradients absolute over (1 + lambda). */
export interface Errors {
  cost: number;
  grad: number;
}

/**
 * What float64 itself leaves open. A row's logZ = largest + log(sum) loses up to all of log(sum), at most log V, where the largest
 * logit is huge, and a path has T + U rows. A posterior's logarithm is a difference of sums as large as log P, of T + U terms each.
 * Ordinary logits give some 1e-13 and at 1e38 nothing of a posterior is left.
 */
function conditioning({ T, U, V, acts, normalized }: Problem, logP: number): { cost: number; grad: number } {
  let swallowed = 0;
  for (let row = 0; row < acts.length && !normalized; row += V) {
    let high = Number.NEGATIVE_INFINITY;
    for (let v = 0; v < V; v++) high = Math.max(high, acts[row + v] as number);
    if (high > Number.NEGATIVE_INFINITY) swallowed = Math.max(swallowed, 2 ** -52 * Math.abs(high));
  }
  const cost = (T + U) * Math.min(Math.log(V), swallowed);
  return { cost, grad: 2 * cost + 2 ** -51 * (T + U) * Math.abs(logP) };
}

/**
 * Holds every sample of a result against the oracle.
 * @returns the largest errors
 */
export function expectAnswers(
  result: LossResult,
  problems: readonly Problem[],
  limits: Pick<Limits, 'cost' | 'grad'>,
  solve: (problem: Problem) => Answer = dynamicProgram,
): Errors {
  const errors: Errors = { cost: 0, grad: 0 };
  problems.forEach((problem, b) => {
    const { T, U, lambda = 0 } = problem;
    const where = `sample ${b} (T=${T}, U=${U})`;
    const expected = solve(problem);
    const cost = result.costs.data[b] as number;
    const feasible = Number.isFinite(expected.loss);
    const open = conditioning(problem, expected.loss / (1 + lambda));
    if (feasible) {
      const error = Math.abs(cost - expected.loss);
      const allowed = limits.cost * Math.max(1, Math.abs(expected.loss)) + (1 + lambda) * open.cost;
      expect(error, `cost of ${where}: ${cost} for ${expected.loss}`).toBeLessThanOrEqual(allowed);
      if (open.cost < 1e-9) errors.cost = Math.max(errors.cost, error / Math.max(1, Math.abs(expected.loss)));
    } else {
      expect(cost, `cost of ${where}`).toBe(expected.loss);
    }
    if (result.grads === null) return;

    const grads = ownGradient(result, b, problem);
    if (!feasible) {
      const left = grads.findIndex((g) => g !== 0);
      expect(left, `first element that is not zero in the gradient of ${where}, which has no path`).toBe(-1);
      return;
    }
    // Where float64 leaves a posterior open it is still one: the two of a node and its softmax are at most 1 each, but for the rounding of
    // sums in float32, by which a softmax may be some ulp above it.
    const decided = limits.grad + open.grad < 0.01;
    let worst = 0;
    let at = 0;
    for (let i = 0; i < grads.length; i++) {
      const error = Math.abs((grads[i] as number) - (decided ? (expected.grads[i] as number) : 0)) / (1 + lambda);
      if (error <= worst) continue;
      worst = error;
      at = i;
      // Nothing is larger than NaN, which is wrong wherever it is.
      if (Number.isNaN(error)) break;
    }
    const what = `gradient of ${where} at ${at}: ${grads[at]} for ${expected.grads[at]}`;
    expect(worst, what).toBeLessThanOrEqual(decided ? limits.grad + open.grad : 2 + 1e-6);
    if (decided) errors.grad = Math.max(errors.grad, worst);
  });
  return errors;
}

/** The bits of an array, in which -0 is not 0 and NaN is itself. */
export const bits = (data: Float32Array | Float64Array): Uint8Array =>
  new Uint8Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength));

/** Same costs and same gradient in every bit. */
export function expectSameBits(actual: LossResult, expected: LossResult): void {
  expect(actual.costs.data).toEqual(expected.costs.data);
  expect(Buffer.compare(bits(actual.costs.data), bits(expected.costs.data)), 'bits of the costs').toBe(0);
  expect(actual.grads === null).toBe(expected.grads === null);
  if (actual.grads === null || expected.grads === null) return;
  expect(Buffer.compare(bits(actual.grads.data), bits(expected.grads.data)), 'bits of the gradient').toBe(0);
}
