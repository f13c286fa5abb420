import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { evaluateReference } from '../../dsl/index.js';
import monotonic from '../specs/monotonic-equations.js';
import rnnt from '../../specs/rnnt-equations.js';
import { centralDifferences, dynamicProgram, enumeratePaths, largestError, type Problem } from '../oracle.js';
import { asUtterance, extremeLogit, harshLogit, mildLogit, problems } from './arbitrary.js';

function expectClose(actual: number, expected: number, rounding = 0): void {
  if (Number.isFinite(expected))
    expect(Math.abs(actual - expected)).toBeLessThan(1e-9 * Math.max(1, Math.abs(expected)) + rounding);
  else expect(actual).toBe(expected);
}

/**
 * What a cost may lose where logits are huge. logZ is one float64: the largest logit plus the log of a sum between 1 and V.
 * Where two logits near 1e38 are equal the exact log-probability is -log 2, but 1e38 + log 2 is 1e38. So each step of a path is
 * off by at most half the distance of float64 numbers there, and never by more than log V. The oracle subtracts the
 * largest logit first and loses nothing.
 */
function roundingOfLogZ({ T, U, V, acts, lambda = 0 }: Problem): number {
  const largest = Array.from(acts).reduce((most, logit) => Math.max(most, Math.abs(logit)), 0);
  return (1 + lambda) * (T + U) * Math.min(Math.log(V), largest * 2 ** -53);
}

describe.each([
  { topology: 'rnnt', spec: rnnt },
  { topology: 'monotonic', spec: monotonic },
] as const)('$topology', ({ topology, spec }) => {
  test('the oracle agrees with itself: all paths against dynamic programming', () => {
    fc.assert(
      fc.property(problems({ topology, T: 5, U: 4, V: 5, logit: harshLogit }), (problem) => {
        const listed = enumeratePaths(problem);
        const programmed = dynamicProgram(problem);
        expectClose(programmed.loss, listed.loss);
        expect(largestError(programmed.grads, listed.grads)).toBeLessThan(1e-9);
      }),
      { numRuns: 150 },
    );
  });

  test('the reference agrees with the list of all paths', () => {
    fc.assert(
      fc.property(problems({ topology, T: 4, U: 4, V: 4, logit: harshLogit }), (problem) => {
        const expected = enumeratePaths(problem);
        const { loss, gradients } = evaluateReference(spec, asUtterance(problem));
        expectClose(loss, expected.loss);
        expect(largestError(gradients.acts ?? [], expected.grads)).toBeLessThan(1e-9);
      }),
      { numRuns: 150 },
    );
  });

  test('the reference agrees with dynamic programming on longer utterances, U > T included', () => {
    fc.assert(
      fc.property(problems({ topology, T: 24, U: 12, V: 9, logit: harshLogit }), (problem) => {
        const expected = dynamicProgram(problem);
        const { loss, gradients } = evaluateReference(spec, asUtterance(problem));
        expectClose(loss, expected.loss);
        expect(largestError(gradients.acts ?? [], expected.grads)).toBeLessThan(1e-9);
      }),
      { numRuns: 40 },
    );
  });

  test('over the whole range of float32 the cost is right and the gradient is finite and bounded', () => {
    fc.assert(
      fc.property(problems({ topology, T: 5, U: 4, V: 5, logit: extremeLogit }), (problem) => {
        const expected = dynamicProgram(problem);
        const { loss, gradients } = evaluateReference(spec, asUtterance(problem));
        expectClose(loss, expected.loss, roundingOfLogZ(problem));
        const bound = 2 + 2 * (problem.lambda ?? 0);
        for (const g of gradients.acts ?? []) expect(Math.abs(g)).toBeLessThanOrEqual(bound);
      }),
      { numRuns: 100 },
    );
  });

  test('without FastEmit and clamp the gradient is the derivative of the loss', () => {
    fc.assert(
      fc.property(problems({ topology, T: 4, U: 3, V: 4, logit: mildLogit }), (random) => {
        const problem = { ...random, lambda: 0, clamp: 0 };
        const { loss, gradients } = evaluateReference(spec, asUtterance(problem));
        fc.pre(Number.isFinite(loss));
        const numeric = centralDifferences(
          (acts) => evaluateReference(spec, { ...asUtterance({ ...problem, acts }), gradients: false }).loss,
          problem.acts,
        );
        expect(largestError(gradients.acts ?? [], numeric)).toBeLessThan(1e-7);
      }),
      { numRuns: 25 },
    );
  });

  test('without a clamp each row of the gradient sums to zero', () => {
    fc.assert(
      fc.property(problems({ topology, T: 8, U: 6, V: 6, logit: harshLogit }), (random) => {
        const problem = { ...random, clamp: 0 };
        const { gradients } = evaluateReference(spec, asUtterance(problem));
        const { V } = problem;
        const grads = gradients.acts ?? new Float64Array();
        for (let row = 0; row < grads.length; row += V) {
          expect(Math.abs(grads.subarray(row, row + V).reduce((total, g) => total + g, 0))).toBeLessThan(1e-9);
        }
      }),
      { numRuns: 60 },
    );
  });
});

test('the number of paths: C(T + U - 1, U) of RNN-T, C(T, U) of the monotonic lattice', () => {
  const flat = { T: 5, U: 3, V: 4, acts: new Float64Array(5 * 4 * 4), labels: [1, 2, 1], blank: 0 };
  expect(enumeratePaths({ ...flat, topology: 'rnnt' }).paths).toBe(35);
  expect(enumeratePaths({ ...flat, topology: 'monotonic' }).paths).toBe(10);
});

test('equal logits near the limit of float32: the cost is off by the log of their number, no more', () => {
  // One frame and the last blank alone: the cost is log 2, and the reference says 0, as 3e38 + log 2 is 3e38.
  const problem = {
    topology: 'rnnt',
    T: 1,
    U: 0,
    V: 2,
    acts: Float32Array.of(3e38, 3e38),
    labels: [],
    blank: 0,
  } as const;
  const { loss } = evaluateReference(rnnt, asUtterance(problem));
  expect(loss).toBeCloseTo(0, 12);
  expect(dynamicProgram(problem).loss).toBeCloseTo(Math.LN2, 12);
  expectClose(loss, dynamicProgram(problem).loss, roundingOfLogZ(problem));
  // At a size that logits have the same row costs log 2.
  const ordinary = { ...problem, acts: Float32Array.of(3e4, 3e4) };
  expectClose(evaluateReference(rnnt, asUtterance(ordinary)).loss, Math.LN2);
});

test('a label that equals the blank receives both posteriors', () => {
  const problem = { topology: 'rnnt', T: 2, U: 1, V: 2, acts: new Float32Array(8), labels: [0], blank: 0 } as const;
  const { gradients } = evaluateReference(rnnt, asUtterance(problem));
  // Symmetric: at (0, 0) the posteriors of staying and emitting are 1/2 each, so 1/2 * 1 - 1/2 - 1/2 is left on symbol 0.
  expect(gradients.acts?.[0]).toBeCloseTo(-0.5, 12);
  expect(gradients.acts?.[1]).toBeCloseTo(0.5, 12);
});
