/**
 * Monotonic RNN-T with a forced final blank: every symbol consumes exactly one frame, as in monotonic.ts, and the last
 * one must be a blank (`one_sym_per_frame` of optimized_transducer; TDT, arXiv 2304.06795, with the one duration 1).
 * FastEmit (arXiv 2010.11148) and the clamp as in RNN-T.
 *
 *   (t, u) -> (t + 1, u)        with weight b(t, u), the blank
 *   (t, u) -> (t + 1, u + 1)    with weight e(t, u), label u, for t < T - 1
 *
 * from (0, 0); only the blank leads from (T - 1, U) to the end. There is a path iff T >= U + 1. The log-weights are a
 * log-softmax of acts(t, u, .), the gradient that of rnnt.ts.
 */
import { arc, defineLoss, f32, i32, lattice, logSoftmax, max, min } from 'trellis-jit/dsl';

export default defineLoss(
  {
    name: 'monotonic-final',
    doc: 'Monotonic RNN-T that ends in a blank: every symbol consumes a frame; FastEmit and clamp',
    inputs: { acts: f32('T', 'U+1', 'V'), labels: i32('U', { not: 'blank' }) },
    params: { blank: 0, fastemitLambda: 0, clamp: 0 },
  },
  ({ acts, labels, T, U, V, blank, fastemitLambda, clamp }) => {
    const logp = logSoftmax(acts, V);
    return lattice({
      nodes: [T, U + 1],
      start: [0, 0],
      end: [T, U],
      arcs: [
        arc({ name: 'stay', step: [1, 0], weight: (t, u) => logp(t, u, blank), final: true }),
        arc({ name: 'emit', step: [1, 1], weight: (t, u) => logp(t, u, labels(u)), scale: 1 + fastemitLambda }),
      ],
      loss: (logLik) => -(1 + fastemitLambda) * logLik,
      gradient: (g) => (clamp > 0 ? max(-clamp, min(clamp, g)) : g),
    });
  },
);
