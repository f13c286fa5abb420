/** Random batches on every device against the oracle: all paths, dynamic programming, and what must not matter. */
import fc from 'fast-check';
import type { CallOptions, LossResult } from 'trellis-jit';
import { describe, expect, test } from 'vitest';
import { enumeratePaths } from '../oracle.js';
import { randomFrom } from '../specs.js';
import {
  type Batch,
  expectAnswers,
  expectSameBits,
  kindsFor,
  type LogitKind,
  ownGradient,
  pack,
  type Recipe,
  randomBatch,
  type SpecName,
  specNames,
  type Tensors,
} from './batches.js';
import { lossOf, onEveryDevice, type TestedDevice } from './devices.js';

interface Bounds {
  readonly T: number;
  readonly U: number;
  readonly V: readonly number[];
  readonly B?: number;
}

/** Recipes up to the bounds. A failure prints its recipe, which makes the same batch again. */
function recipes(spec: SpecName, kind: fc.Arbitrary<LogitKind>, { T, U, V, B = 4 }: Bounds): fc.Arbitrary<Recipe> {
  return fc.record({
    spec: fc.constant(spec),
    seed: fc.nat(),
    B: fc.integer({ min: 1, max: B }),
    T: fc.integer({ min: 1, max: T }),
    U: fc.nat(U),
    V: fc.constantFrom(...V),
    kind,
    lambda: fc.oneof(fc.constant(0), fc.constantFrom(0.001, 0.5), fc.double({ min: 0, max: 2, noNaN: true })),
    clamp: fc.oneof(
      { weight: 3, arbitrary: fc.constant(0) },
      { weight: 1, arbitrary: fc.constantFrom(0.003, 0.05, 0.7) },
    ),
  });
}

async function run(
  tested: TestedDevice,
  spec: SpecName,
  { acts, labels, actLens, labelLens }: Tensors,
  { params }: Batch,
  call: CallOptions = {},
): Promise<LossResult> {
  return (await lossOf(tested, spec)).forward(acts, labels, actLens, labelLens, { params, ...call });
}

onEveryDevice((tested) => {
  const { limits } = tested;
  const { runs } = limits.sizes;
  const kinds = kindsFor(limits);

  describe.each(specNames)('%s', (spec) => {
    test('small lattices: the list of all paths', async () => {
      await fc.assert(
        fc.asyncProperty(recipes(spec, fc.constantFrom(...kinds), { T: 5, U: 5, V: [2, 3, 5] }), async (recipe) => {
          const batch = randomBatch(recipe);
          expectAnswers(await run(tested, spec, batch.tensors, batch), batch.problems, limits, enumeratePaths);
        }),
        { numRuns: runs },
      );
    });

    test.each(kinds)('dynamic programming, %s logits', async (kind) => {
      await fc.assert(
        fc.asyncProperty(recipes(spec, fc.constant(kind), limits.sizes), async (recipe) => {
          const batch = randomBatch(recipe);
          expectAnswers(await run(tested, spec, batch.tensors, batch), batch.problems, limits);
        }),
        { numRuns: Math.ceil(runs / 3) },
      );
    });

    test('what lies in the padding changes no bit', async () => {
      const kind = fc.constantFrom<LogitKind>('mild', 'masked');
      await fc.assert(
        fc.asyncProperty(recipes(spec, kind, limits.sizes), async (recipe) => {
          const batch = randomBatch(recipe);
          const other = pack(batch.problems, recipe, recipe.seed + 1);
          expectSameBits(await run(tested, spec, other, batch), await run(tested, spec, batch.tensors, batch));
        }),
        { numRuns: Math.ceil(runs / 4) },
      );
    });

    test('in an array of the caller, and in place, the gradient is the same in every bit', async () => {
      await fc.assert(
        fc.asyncProperty(recipes(spec, fc.constantFrom(...kinds), limits.sizes), async (recipe) => {
          const batch = randomBatch(recipe);
          const { tensors } = batch;
          const separate = await run(tested, spec, tensors, batch);
          const expected = {
            ...separate,
            grads: { ...separate.grads!, data: Float32Array.from(separate.grads!.data) },
          };
          const output = new Float32Array(tensors.acts.data.length).fill(Number.NaN);
          const written = await run(tested, spec, tensors, batch, { grads: output });
          expect(written.grads?.data).toBe(output);
          expectSameBits(written, expected);
          const replaced = await run(tested, spec, tensors, batch, { grads: 'in-place' });
          expect(replaced.grads?.data).toBe(tensors.acts.data);
          expectSameBits(replaced, expected);
        }),
        { numRuns: Math.ceil(runs / 4) },
      );
    });

    test.each([
      ['without a path: an infinite cost and no gradient', Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY],
      ['with NaN: the cost is NaN', Number.NaN, Number.NaN],
    ])('a sample %s; its neighbours keep every bit', async (_, value, cost) => {
      const bounds = { ...limits.sizes, T: 12, U: 8 };
      await fc.assert(
        fc.asyncProperty(recipes(spec, fc.constant('mild'), bounds), fc.nat(), async (recipe, seed) => {
          const batch = randomBatch({ ...recipe, B: recipe.B + 1 });
          const random = randomFrom(seed);
          const victim = Math.floor(random() * batch.problems.length);
          const problem = batch.problems[victim]!;
          fc.pre(problem.T > 0);
          const others = batch.problems.filter((_problem, b) => b !== victim);
          const before = await run(tested, spec, pack(others, recipe, seed), batch);
          // In frame t every path takes a blank, or (monotonic) a symbol, out of one of the rows u.
          const t = Math.floor(random() * problem.T);
          const { U, V, blank, labels } = problem;
          const acts = Float32Array.from(problem.acts);
          for (let u = 0; u <= U; u++) {
            const row = (t * (U + 1) + u) * V;
            acts[row + blank] = value;
            if (u < U && spec === 'monotonic') acts[row + labels[u]!] = value;
          }
          const problems = batch.problems.map((one, b) => (b === victim ? { ...one, acts } : one));
          const after = await run(tested, spec, pack(problems, recipe, seed), batch);
          expect(after.costs.data[victim]).toBe(cost);
          const gradient = ownGradient(after, victim, problem);
          if (cost === Number.POSITIVE_INFINITY) expect(gradient.every((g) => g === 0)).toBe(true);
          else if (spec !== 'rnnt-normalized') expect(gradient.some(Number.isNaN)).toBe(true);
          const rest = <Data extends Float32Array | Float64Array>(data: Data): Data => {
            const size = data.length / problems.length;
            const kept = data.filter((__, i) => Math.floor(i / size) !== victim);
            return kept as Data;
          };
          const grads = after.grads!;
          expectSameBits(
            {
              ...after,
              costs: { data: rest(after.costs.data), shape: [others.length] },
              grads: { data: rest(grads.data), shape: grads.shape },
            },
            before,
          );
        }),
        { numRuns: Math.ceil(runs / 2) },
      );
    });
  });

  test('the monotonic loss has no path for more labels than frames', async () => {
    await fc.assert(
      fc.asyncProperty(recipes('monotonic', fc.constant('mild'), { T: 9, U: 9, V: [3, 8] }), async (recipe) => {
        const batch = randomBatch({ ...recipe, full: true });
        const { costs } = await run(tested, 'monotonic', batch.tensors, batch);
        for (const cost of costs.data) expect(cost === Number.POSITIVE_INFINITY).toBe(recipe.T < recipe.U);
      }),
      { numRuns: runs },
    );
  });
});
