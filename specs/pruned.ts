/**
 * Pruned RNN-T (Kuang et al., arXiv 2206.13236; the pruned loss of k2): at each frame the logits are known for S
 * label positions only, u = ranges(t) .. ranges(t) + S - 1, and acts(t, s, .) are those of position ranges(t) + s.
 *
 *   (t, u) -> (t + 1, u)    with weight b(t, u), for u in the window of frame t
 *   (t, u) -> (t, u + 1)    with weight e(t, u), for u in the window of frame t
 *
 * The rest is RNN-T (rnnt.ts), FastEmit (arXiv 2010.11148) and the clamp included. No gradient goes through the choice of windows, and
 * window positions beyond U play no part. If the windows leave no path the loss is +Infinity. With S = U + 1 and all
 * ranges 0 it is RNN-T.
 */
import { arc, defineLoss, f32, i32, lattice, logSoftmax, max, min } from 'trellis-jit/dsl';

export default defineLoss(
  {
    name: 'pruned',
    doc: 'Pruned RNN-T: at each frame only the label positions of a window have logits, as in k2; FastEmit and clamp',
    inputs: { acts: f32('T', 'S', 'V'), labels: i32('U', { not: 'blank' }), ranges: i32('T') },
    params: { blank: 0, fastemitLambda: 0, clamp: 0 },
  },
  ({ acts, labels, ranges, T, U, V, blank, fastemitLambda, clamp }) => {
    // Outside of the window there are no logits, and so the weight is log 0.
    const logp = logSoftmax(acts, V);
    return lattice({
      nodes: [T, U + 1],
      start: [0, 0],
      end: [T, U],
      arcs: [
        arc({ name: 'stay', step: [1, 0], weight: (t, u) => logp(t, u - ranges(t), blank), final: true }),
        arc({
          name: 'emit',
          step: [0, 1],
          weight: (t, u) => logp(t, u - ranges(t), labels(u)),
          scale: 1 + fastemitLambda,
        }),
      ],
      loss: (logLik) => -(1 + fastemitLambda) * logLik,
      gradient: (g) => (clamp > 0 ? max(-clamp, min(clamp, g)) : g),
    });
  },
);
