/**
 * Alignment-restricted RNN-T (Mahadeokar et al., arXiv 2011.03072): a label may be emitted only near the frame where a
 * reference alignment has it. With alignment(u) that frame (counted from 0) for label u,
 *
 *   label arc at (t, u) exists only if alignment(u) - left <= t <= alignment(u) + right
 *
 * and everything else is RNN-T (rnnt.ts), FastEmit (arXiv 2010.11148) and the clamp included. Where the windows
 * leave no path the loss is +Infinity. A band of left, right >= T is no restriction.
 */
import { arc, defineLoss, f32, i32, lattice, logSoftmax, max, min } from 'trellis-jit/dsl';

export default defineLoss(
  {
    name: 'restricted',
    doc: 'Alignment-restricted RNN-T: labels only within a window around their reference frames; FastEmit and clamp',
    inputs: { acts: f32('T', 'U+1', 'V'), labels: i32('U', { not: 'blank' }), alignment: i32('U') },
    params: { blank: 0, left: 10, right: 10, fastemitLambda: 0, clamp: 0 },
  },
  ({ acts, labels, alignment, T, U, V, blank, left, right, fastemitLambda, clamp }) => {
    const logp = logSoftmax(acts, V);
    return lattice({
      nodes: [T, U + 1],
      start: [0, 0],
      end: [T, U],
      arcs: [
        arc({ name: 'stay', step: [1, 0], weight: (t, u) => logp(t, u, blank), final: true }),
        arc({
          name: 'emit',
          step: [0, 1],
          weight: (t, u) => logp(t, u, labels(u)),
          when: (t, u) => t >= alignment(u) - left && t <= alignment(u) + right,
          scale: 1 + fastemitLambda,
        }),
      ],
      loss: (logLik) => -(1 + fastemitLambda) * logLik,
      gradient: (g) => (clamp > 0 ? max(-clamp, min(clamp, g)) : g),
    });
  },
);
