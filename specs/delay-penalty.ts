/**
 * RNN-T with a delay penalty (Kang et al., arXiv 2211.00490; k2's `delay_penalty`): every label's log-weight is raised
 * before the utterance's middle frame and lowered after it, so that labels come earlier.
 *
 *   label arc at (t, u): log e(t, u) + lambda ((T - 1) / 2 - t),   blank arc: log b(t, u)
 *
 * with lambda = delayPenalty, T the utterance's own frames, and the lattice of rnnt.ts. The penalty is part of the value,
 * so the loss is an exact objective, and its gradient is RNN-T's with the posteriors of the shifted lattice. A lambda
 * of 0 or less is none, as in k2.
 */
import { arc, defineLoss, f32, i32, lattice, logSoftmax, max, min } from 'trellis-jit/dsl';

export default defineLoss(
  {
    name: 'delay-penalty',
    doc: 'RNN-T whose labels weigh more before the middle frame and less after it, as k2 does; clamp',
    inputs: { acts: f32('T', 'U+1', 'V'), labels: i32('U', { not: 'blank' }) },
    params: { blank: 0, delayPenalty: 0, clamp: 0 },
  },
  ({ acts, labels, T, U, V, blank, delayPenalty, clamp }) => {
    const logp = logSoftmax(acts, V);
    const bonus = (t: number) => max(0, delayPenalty) * ((T - 1) / 2 - t);
    return lattice({
      nodes: [T, U + 1],
      start: [0, 0],
      end: [T, U],
      arcs: [
        arc({ name: 'stay', step: [1, 0], weight: (t, u) => logp(t, u, blank), final: true }),
        arc({ name: 'emit', step: [0, 1], weight: (t, u) => logp(t, u, labels(u)) + bonus(t) }),
      ],
      gradient: (g) => (clamp > 0 ? max(-clamp, min(clamp, g)) : g),
    });
  },
);
