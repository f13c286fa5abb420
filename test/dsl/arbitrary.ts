/** Random utterances for property tests. */
import fc from 'fast-check';
import type { Utterance } from '../../dsl/index.js';
import type { Problem, Topology } from '../oracle.js';

export interface Limits {
  readonly topology: Topology;
  readonly T: number;
  readonly U: number;
  readonly V: number;
  /** A generator of single logits. They are rounded to float32, as real ones are. */
  readonly logit: fc.Arbitrary<number>;
}

/** Ordinary logits. */
export const mildLogit = fc.double({ min: -6, max: 6, noNaN: true });
/** Now and then log 0 or a logit that decides everything. */
export const harshLogit = fc.oneof(
  { weight: 8, arbitrary: mildLogit },
  { weight: 1, arbitrary: fc.constant(Number.NEGATIVE_INFINITY) },
  { weight: 1, arbitrary: fc.constantFrom(-100, -50, 50, 100) },
);
/** All finite values of float32. */
export const extremeLogit = fc.float({ noNaN: true, noDefaultInfinity: true });

/** Utterances up to the limits, T from 0, blank anywhere, labels that may repeat and may equal the blank. */
export function problems({ topology, T, U, V, logit }: Limits): fc.Arbitrary<Problem> {
  return fc.record({ T: fc.nat(T), U: fc.nat(U), V: fc.integer({ min: 2, max: V }) }).chain((sizes) =>
    fc.record({
      topology: fc.constant(topology),
      T: fc.constant(sizes.T),
      U: fc.constant(sizes.U),
      V: fc.constant(sizes.V),
      acts: fc
        .array(logit, {
          minLength: sizes.T * (sizes.U + 1) * sizes.V,
          maxLength: sizes.T * (sizes.U + 1) * sizes.V,
        })
        .map((values) => Float32Array.from(values)),
      labels: fc.array(fc.nat(sizes.V - 1), { minLength: sizes.U, maxLength: sizes.U }),
      blank: fc.nat(sizes.V - 1),
      lambda: fc.constantFrom(0, 0, 0.01, 0.5),
      clamp: fc.constantFrom(0, 0, 0.05, -1),
    }),
  );
}

/** The same utterance for the reference. */
export function asUtterance({ T, U, V, acts, labels, blank, lambda = 0, clamp = 0 }: Problem): Utterance {
  return {
    inputs: { acts: { data: acts }, labels: { data: labels } },
    sizes: { T, U, V },
    params: { blank, fastemitLambda: lambda, clamp },
  };
}
