/**
 * The constrained topology of k2 (Kuang et al., arXiv 2206.13236, and k2's `rnnt_type="constrained"`): every symbol
 * consumes a frame and either kind may be the last, as in monotonic.ts, and a label also pays for a blank from the
 * context that it makes, in the same frame.
 *
 *   (t, u) -> (t + 1, u)        with weight b(t, u)
 *   (t, u) -> (t + 1, u + 1)    with weight e(t, u) b(t, u + 1)
 *
 * from (0, 0) to (T, U), with b and e the probabilities of the blank and of label u, from a softmax of acts(t, u, .).
 * So the gradient of log b(t, u + 1) has minus the posterior of the label arc at (t, u) in it. There is a path iff T >= U.
 */
import { arc, defineLoss, f32, i32, lattice, logSoftmax, max, min } from 'trellis-jit/dsl';

export default defineLoss(
  {
    name: 'constrained',
    doc: 'One symbol per frame, a label followed by a blank within its frame, as in k2; clamp',
    inputs: { acts: f32('T', 'U+1', 'V'), labels: i32('U', { not: 'blank' }) },
    params: { blank: 0, clamp: 0 },
  },
  ({ acts, labels, T, U, V, blank, clamp }) => {
    const logp = logSoftmax(acts, V);
    return lattice({
      nodes: [T, U + 1],
      start: [0, 0],
      end: [T, U],
      arcs: [
        arc({ name: 'stay', step: [1, 0], weight: (t, u) => logp(t, u, blank), final: true }),
        arc({
          name: 'emit',
          step: [1, 1],
          weight: (t, u) => logp(t, u, labels(u)) + logp(t, u + 1, blank),
          final: true,
        }),
      ],
      gradient: (g) => (clamp > 0 ? max(-clamp, min(clamp, g)) : g),
    });
  },
);
