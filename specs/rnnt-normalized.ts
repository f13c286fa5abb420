/**
 * RNN-T on log-probabilities: the lattice of rnnt.ts (Graves, arXiv 1211.3711; FastEmit, arXiv 2010.11148) for models
 * that end in a log-softmax of their own, or in another normalisation altogether (a factorised blank, say).
 *
 * acts(t, u, v) is taken as the log-probability of v at node (t, u) and is not normalised again, so
 *
 *   b(t, u) = exp acts(t, u, blank),   e(t, u) = exp acts(t, u, label u)
 *
 * and the gradient, with respect to the log-probabilities, has the two posteriors at their places and is zero elsewhere:
 *
 *   -[v = blank] q0 - [v = label] (1 + lambda) qy
 */
import { arc, defineLoss, f32, i32, lattice, max, min } from 'trellis-jit/dsl';

export default defineLoss(
  {
    name: 'rnnt-normalized',
    doc: 'RNN-T on log-probabilities, with the gradient with respect to those; FastEmit and clamp',
    inputs: { acts: f32('T', 'U+1', 'V'), labels: i32('U', { not: 'blank' }) },
    params: { blank: 0, fastemitLambda: 0, clamp: 0 },
  },
  ({ acts, labels, T, U, blank, fastemitLambda, clamp }) =>
    lattice({
      nodes: [T, U + 1],
      start: [0, 0],
      end: [T, U],
      arcs: [
        arc({ name: 'stay', step: [1, 0], weight: (t, u) => acts(t, u, blank), final: true }),
        arc({ name: 'emit', step: [0, 1], weight: (t, u) => acts(t, u, labels(u)), scale: 1 + fastemitLambda }),
      ],
      loss: (logLik) => -(1 + fastemitLambda) * logLik,
      gradient: (g) => (clamp > 0 ? max(-clamp, min(clamp, g)) : g),
    }),
);
