/** Gradients on every device: derivatives of the costs, what their sums must be, FastEmit, the clamp, reductions' factors. */
import type { LossResult, Reduction } from 'trellis-jit';
import { describe, expect, test } from 'vitest';
import { largestError, type Problem } from '../oracle.js';
import { type Batch, expectAnswers, ownGradient, pack, randomBatch, type SpecName, specNames } from './batches.js';
import { lossOf, onEveryDevice, rnntOn, type TestedDevice } from './devices.js';

async function run(tested: TestedDevice, spec: SpecName, batch: Batch, params = {}): Promise<LossResult> {
  const { acts, labels, actLens, labelLens } = batch.tensors;
  const loss = await lossOf(tested, spec);
  return loss.forward(acts, labels, actLens, labelLens, { params: { ...batch.params, ...params } });
}

const total = (values: Iterable<number>): number => {
  let sum = 0;
  for (const value of values) sum += value;
  return sum;
};

/** The arcs' posteriors at [t][u], out of the gradient with respect to log-probabilities, which is minus them. */
function posteriors({ T, U, V, blank, labels }: Problem, grads: Float64Array) {
  const at = (symbol: (u: number) => number | undefined): number[][] =>
    Array.from({ length: T }, (_, t) =>
      Array.from({ length: U + 1 }, (__, u) => {
        const v = symbol(u);
        return v === undefined ? 0 : -(grads[(t * (U + 1) + u) * V + v] as number);
      }),
    );
  return { stayed: at(() => blank), emitted: at((u) => labels[u]) };
}

onEveryDevice((tested) => {
  const { grad: gradLimit, differences } = tested.limits;

  test.each(specNames)('%s: the gradient is the derivative of the cost', async (spec) => {
    const batch = randomBatch({ spec, seed: 3, B: 1, T: 4, U: 3, V: 5, kind: 'mild', full: true });
    const [random] = batch.problems as [Problem];
    // On a grid of 2^-10 every step is exact in float32.
    const problem = { ...random, acts: Float32Array.from(random.acts, (x) => Math.round(x * 1024) / 1024) };
    const sizes = { T: 4, U: 3, V: 5 };
    const still = { ...batch, problems: [problem], tensors: pack([problem], sizes) };
    const { grads } = await run(tested, spec, still);

    const { step, error } = differences;
    const moved = [step, -step].flatMap((h) =>
      Array.from(problem.acts, (_, i) => Float64Array.from(problem.acts, (x, j) => (i === j ? x + h : x))),
    );
    const count = problem.acts.length;
    const B = moved.length;
    const loss = await lossOf(tested, spec);
    const { costs } = await loss.forward(
      { data: Float64Array.from(moved.flatMap((acts) => [...acts])), shape: [B, 4, 4, 5] },
      Array.from({ length: B }, () => Array.from(problem.labels)),
      new Int32Array(B).fill(4),
      new Int32Array(B).fill(3),
      { grads: false, params: batch.params },
    );
    const numeric = Array.from(
      { length: count },
      (_, i) => ((costs.data[i] as number) - (costs.data[count + i] as number)) / (2 * step),
    );
    expect(largestError(grads!.data, numeric)).toBeLessThan(error);
    expect(Math.max(...numeric.map(Math.abs))).toBeGreaterThan(0.1);
  });

  describe('sums', () => {
    test.each(['rnnt', 'monotonic'] as const)('%s: every row of the gradient sums to zero', async (spec) => {
      for (const fastemitLambda of [0, 0.7]) {
        const batch = randomBatch({ spec, seed: 11, B: 4, T: 30, U: 12, V: 40, kind: 'harsh' });
        const { data } = (await run(tested, spec, batch, { fastemitLambda })).grads!;
        for (let row = 0; row < data.length; row += 40) {
          // The elements' errors are the same few, p (error of the posteriors), so they do not add up.
          expect(Math.abs(total(data.subarray(row, row + 40)))).toBeLessThan(2 * gradLimit);
        }
      }
    });

    test('each label is emitted once, each frame is left once, each diagonal is crossed once', async () => {
      const batch = randomBatch({ spec: 'rnnt-normalized', seed: 5, B: 3, T: 17, U: 9, V: 6, kind: 'mild' });
      const lambda = 0.5;
      const result = await run(tested, 'rnnt-normalized', batch, { fastemitLambda: lambda });
      // As many posteriors as a diagonal has arcs are added.
      const near = (sum: number, expected: number): void =>
        expect(Math.abs(sum - expected)).toBeLessThan(20 * gradLimit);
      batch.problems.forEach((problem, b) => {
        const { T, U } = problem;
        const { stayed, emitted } = posteriors(problem, ownGradient(result, b, problem));
        for (let u = 0; u < U; u++) near(total(emitted.map((row) => row[u]!)), 1 + lambda);
        for (let t = 0; t < T; t++) near(total(stayed[t]!), 1);
        for (let n = 0; n < T + U; n++) {
          const nodes = stayed.flatMap((row, t) => row.flatMap((q, u) => (t + u === n ? [[q, emitted[t]![u]!]] : [])));
          near(total(nodes.map(([q0, qy]) => q0! + qy! / (1 + lambda))), 1);
        }
        near(stayed[T - 1]![U]!, 1);
      });
    });

    test('monotonic: each frame is left once', async () => {
      const spec = 'monotonic';
      const batch = randomBatch({ spec, seed: 8, B: 3, T: 12, U: 4, V: 5, kind: 'mild', full: true });
      const result = await run(tested, spec, batch);
      const { blank } = batch.params;
      batch.problems.forEach((problem, b) => {
        const { T, U, V, acts, labels } = problem;
        const grads = ownGradient(result, b, problem);
        for (let t = 0; t < T; t++) {
          let visits = 0;
          for (let u = 0; u <= U; u++) {
            const row = (t * (U + 1) + u) * V;
            const p = Array.from({ length: V }, (_, v) => Math.exp(acts[row + v]!));
            // An element of neither symbol is p times the node's posterior; the most probable one has the least error.
            const others = p.map((_, v) => v).filter((v) => v !== blank && v !== labels[u]);
            const v = others.reduce((best, other) => (p[other]! > p[best]! ? other : best));
            visits += grads[row + v]! / (p[v]! / total(p));
          }
          expect(Math.abs(visits - 1)).toBeLessThan(100 * gradLimit);
        }
      });
    });
  });

  describe('FastEmit and clamp', () => {
    const batch = randomBatch({ spec: 'rnnt', seed: 21, B: 3, T: 15, U: 7, V: 17, kind: 'harsh' });

    test('FastEmit scales the cost by (1 + lambda), and weights emissions in the gradient', async () => {
      const plain = await run(tested, 'rnnt', batch);
      for (const lambda of [0.01, 1, 3.5]) {
        const weighted = await run(tested, 'rnnt', batch, { fastemitLambda: lambda });
        weighted.costs.data.forEach((cost, b) => {
          expect(Math.abs(cost / ((1 + lambda) * plain.costs.data[b]!) - 1)).toBeLessThan(1e-14);
        });
        expectAnswers(
          weighted,
          batch.problems.map((problem) => ({ ...problem, lambda })),
          tested.limits,
        );
      }
    });

    test('the clamp comes after FastEmit, is exact, and leaves the cost alone', async () => {
      const free = await run(tested, 'rnnt', batch, { fastemitLambda: 2 });
      const clamp = 0.25; // exact in float32
      const clamped = await run(tested, 'rnnt', batch, { fastemitLambda: 2, clamp });
      expect(clamped.costs.data).toEqual(free.costs.data);
      expect(clamped.grads?.data).toEqual(free.grads?.data.map((g) => Math.max(-clamp, Math.min(clamp, g))));
      expect(clamped.grads?.data.filter((g) => Math.abs(g) === clamp).length).toBeGreaterThan(10);
    });
  });

  describe('reductions', () => {
    const { T, U, V } = { T: 9, U: 5, V: 8 };
    const acts = {
      data: Float32Array.from({ length: 4 * T * (U + 1) * V }, (_, i) => Math.sin(i)),
      shape: [4, T, U + 1, V],
    };
    const labels = { data: Int32Array.from({ length: 4 * U }, (_, i) => (i * 3) % (V - 1)), shape: [4, U] };
    const actLens = [9, 4, 7, 1];
    const labelLens = [5, 0, 2, 1];
    const options = { blank: V - 1, clamp: 0.3 };

    /** What a sample's cost and gradient count, written out: 4 samples of 5, 0, 2 and 1 labels. */
    const factors: Record<Reduction, readonly [number, number, number, number]> = {
      none: [1, 1, 1, 1],
      sum: [1, 1, 1, 1],
      mean: [1 / 20, 1 / 4, 1 / 8, 1 / 4],
      mean_batch: [1 / 4, 1 / 4, 1 / 4, 1 / 4],
      mean_volume: [1 / 8, 1 / 8, 1 / 8, 1 / 8],
    };

    test.each(Object.keys(factors) as Reduction[])('%s', async (reduction) => {
      const plain = await (await rnntOn(tested, options)).forward(acts, labels, actLens, labelLens);
      const loss = await rnntOn(tested, { ...options, reduction });
      const reduced = await loss.forward(acts, labels, actLens, labelLens);
      expect(reduced.costs.data).toEqual(plain.costs.data);
      if (reduction === 'none') expect(reduced.loss).toBe(reduced.costs);
      else {
        const sum = total(plain.costs.data.map((cost, b) => cost * factors[reduction][b]!));
        expect(Math.abs(reduced.loss.data[0]! / sum - 1)).toBeLessThan(1e-14);
      }
      const each = plain.grads!.data.length / 4;
      // The factor is applied as the gradient is written, so an element is off by its rounding.
      const rounding = tested.device === 'reference' ? 2 ** -50 : 2 ** -22;
      reduced.grads!.data.forEach((g, i) => {
        const expected = plain.grads!.data[i]! * factors[reduction][Math.floor(i / each)]!;
        expect(Math.abs(g - expected)).toBeLessThanOrEqual(rounding * Math.abs(expected));
      });
    });
  });
});
