import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { evaluateReference } from '../../dsl/index.js';
import monotonic from '../../specs/monotonic.js';
import rnnt from '../../specs/rnnt.js';
import { centralDifferences, dynamicProgram, enumeratePaths, largestError } from '../oracle.js';
import { asUtterance, extremeLogit, harshLogit, mildLogit, problems } from './arbitrary.js';

function expectClose(actual: number, expected: number): void {
  if (Number.isFinite(expected))
    expect(Math.abs(actual - expected)).toBeLessThan(1e-9 * Math.max(1, Math.abs(expected)));
  else expect(actual).toBe(expected);
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
        expectClose(loss, expected.loss);
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

test('a label that equals the blank receives both posteriors', () => {
  const problem = { topology: 'rnnt', T: 2, U: 1, V: 2, acts: new Float32Array(8), labels: [0], blank: 0 } as const;
  const { gradients } = evaluateReference(rnnt, asUtterance(problem));
  // Symmetric: at (0, 0) the posteriors of staying and emitting are 1/2 each, so 1/2 * 1 - 1/2 - 1/2 is left on symbol 0.
  expect(gradients.acts?.[0]).toBeCloseTo(-0.5, 12);
  expect(gradients.acts?.[1]).toBeCloseTo(0.5, 12);
});
